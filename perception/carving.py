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
def begin(origin, direction, near, shape):
    """Where a ray enters, as triples: its voxel, the steps along the axes, the ray parameters of the next borders and
    between borders."""
    x, step_x, border_x, gap_x = _begin(origin[0], direction[0], near, shape[0])
    y, step_y, border_y, gap_y = _begin(origin[1], direction[1], near, shape[1])
    z, step_z, border_z, gap_z = _begin(origin[2], direction[2], near, shape[2])
    return (x, y, z), (step_x, step_y, step_z), (border_x, border_y, border_z), (gap_x, gap_y, gap_z)


@njit(cache=True, nogil=True)
def follow(voxel, step, border, gap):
    """Over the nearest border: the next voxel, and the borders that are next then."""
    x, y, z = voxel
    along_x, along_y, along_z = border
    if along_x <= along_y and along_x <= along_z:
        return (x + step[0], y, z), (along_x + gap[0], along_y, along_z)
    if along_y <= along_z:
        return (x, y + step[1], z), (along_x, along_y + gap[1], along_z)
    return (x, y, z + step[2]), (along_x, along_y, along_z + gap[2])


@njit(cache=True, nogil=True)
def inside(voxel, shape):
    return 0 <= voxel[0] < shape[0] and 0 <= voxel[1] < shape[1] and 0 <= voxel[2] < shape[2]


@njit(cache=True, nogil=True)
def _begin(origin, direction, near, size):
    """On one axis: the first voxel, the step, the ray parameter of the next border and between borders."""
    voxel = min(max(int(np.floor(origin + near * direction)), 0), size - 1)
    if direction > 0.0:
        return voxel, 1, (voxel + 1 - origin) / direction, 1.0 / direction
    if direction < 0.0:
        return voxel, -1, (voxel - origin) / direction, -1.0 / direction
    return voxel, 0, np.inf, np.inf


@njit(cache=True, nogil=True)
def _carve(origins, ends, free, hit):
    for r in range(len(ends)):
        origin, end = origins[r], ends[r]
        last = (int(np.floor(end[0])), int(np.floor(end[1])), int(np.floor(end[2])))
        if inside(last, free.shape):
            hit[last] += 1
        near, far = span_of(origin, end - origin, free.shape, 1.0)
        if near > far:
            continue
        voxel, step, border, gap = begin(origin, end - origin, near, free.shape)
        while voxel != last:
            free[voxel] += 1
            if min(border) > far:
                break
            voxel, border = follow(voxel, step, border, gap)
            if not inside(voxel, free.shape):
                break
