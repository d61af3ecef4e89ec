"""Free space, carved: which voxels the rays of a sweep cross. Compiled by numba, one thread; the walk is the digital
differential analyser of Amanatides & Woo (1987). The twin in numpy is perception.rays.carve_plain.

Origins and ends are in voxels from the lower corner of the grid; rays may start and end outside.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from calib.transforms import Array

Counts = NDArray[np.uint32]


def carve(origins: Array, ends: Array, free: Counts, hit: Counts) -> None:
    """Adds to `free` and `hit` [X, Y, Z], in place, how many rays crossed each voxel and how many ended in it. A ray
    does not cross the voxel that it ends in; one that ends outside carves up to the border.

    Args:
        origins: float64 [3], or [n, 3] for each ray. ends: float64 [n, 3].
    """
    each = np.broadcast_to(np.asarray(origins, np.float64), ends.shape)
    _carve(np.ascontiguousarray(each), np.ascontiguousarray(ends, np.float64), free, hit)


@njit(cache=True, nogil=True)
def span_of(origin, direction, shape, longest):
    """The part [near, far] of a ray that is inside the grid, as shares of `direction`; empty where near > far."""
    near, far = 0.0, longest
    for axis in range(3):
        if direction[axis] == 0.0:
            if origin[axis] < 0.0 or origin[axis] >= shape[axis]:
                return 1.0, 0.0
        else:
            a = -origin[axis] / direction[axis]
            b = (shape[axis] - origin[axis]) / direction[axis]
            near, far = max(near, min(a, b)), min(far, max(a, b))
    return near, far


@njit(cache=True, nogil=True)
def start_of(origin, direction, near, size):
    """On one axis: the first voxel, the step, the ray parameter of the next border and between borders."""
    voxel = min(max(int(np.floor(origin + near * direction)), 0), size - 1)
    if direction > 0.0:
        return voxel, 1, (voxel + 1 - origin) / direction, 1.0 / direction
    if direction < 0.0:
        return voxel, -1, (voxel - origin) / direction, -1.0 / direction
    return voxel, 0, np.inf, np.inf


@njit(cache=True, nogil=True)
def _carve(origins, ends, free, hit):
    nx, ny, nz = free.shape
    for r in range(len(ends)):
        o, e = origins[r], ends[r]
        hx, hy, hz = int(np.floor(e[0])), int(np.floor(e[1])), int(np.floor(e[2]))
        if 0 <= hx < nx and 0 <= hy < ny and 0 <= hz < nz:
            hit[hx, hy, hz] += 1
        d = e - o
        near, far = span_of(o, d, free.shape, 1.0)
        if near > far:
            continue
        x, step_x, next_x, gap_x = start_of(o[0], d[0], near, nx)
        y, step_y, next_y, gap_y = start_of(o[1], d[1], near, ny)
        z, step_z, next_z, gap_z = start_of(o[2], d[2], near, nz)
        while not (x == hx and y == hy and z == hz):
            free[x, y, z] += 1
            if min(next_x, next_y, next_z) > far:
                break
            if next_x <= next_y and next_x <= next_z:
                x, next_x = x + step_x, next_x + gap_x
            elif next_y <= next_z:
                y, next_y = y + step_y, next_y + gap_y
            else:
                z, next_z = z + step_z, next_z + gap_z
            if not (0 <= x < nx and 0 <= y < ny and 0 <= z < nz):
                break
