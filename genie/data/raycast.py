"""Rays through the voxel grid: what they cross, where they end, and what they see first.

The walk of perception.carving, compiled by numba, one thread. Points are in the frame of the grid (m); rays may start
and end outside. A ray visits each voxel at most once, in order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from calib.transforms import Array
from perception import carving
from perception.carving import begin, follow, inside, span_of
from perception.types import FREE, GRID, VoxelGrid


class Carved(NamedTuple):
    """free: uint32 [X, Y, Z], how many rays crossed the voxel. hit: uint32 [X, Y, Z], how many ended in it."""

    free: NDArray[np.uint32]
    hit: NDArray[np.uint32]


def carve(origin: Array, hits: Array, grid: VoxelGrid = GRID, into: Carved | None = None) -> Carved:
    """Counts crossings and ends of the rays from `origin` to `hits`. The voxel that a ray ends in is not crossed by it.

    Args:
        origin: [3], or [n, 3] for each ray (m).
        hits: [n, 3] (m). A hit outside the grid still carves up to the border.
        into: counts to add to, in place; new ones where there are none.
    """
    counts = into or Carved(np.zeros(grid.shape, np.uint32), np.zeros(grid.shape, np.uint32))
    carving.carve(_in_voxels(origin, grid), _in_voxels(hits, grid), counts.free, counts.hit)
    return counts


def visible_mask(
    semantics: NDArray[np.uint8], origins: Array, directions: Array, reach: float = np.inf, grid: VoxelGrid = GRID
) -> NDArray[np.bool_]:
    """Voxels that rays reach through free space, the first occupied voxel of each ray included; bool [X, Y, Z].

    The voxel that a ray starts in never blocks it: a sensor is not blinded by what its own voxel was labelled.

    Args:
        semantics: uint8 [X, Y, Z]; everything but FREE blocks.
        origins: [3], or [n, 3] for each ray (m).
        directions: [n, 3], of any length but zero.
        reach: where the rays end, (m) from their origins.
    """
    unit = np.asarray(directions, np.float64) / np.linalg.norm(directions, axis=-1, keepdims=True)
    seen = np.zeros(grid.shape, np.bool_)
    starts = _rays_of(_in_voxels(origins, grid), unit.shape)
    _see(semantics != FREE, starts, np.ascontiguousarray(unit), float(reach) / grid.voxel_size, seen)
    return seen


class CameraRays(NamedTuple):
    """origin [3] (m) and directions [n, 3] of pixels, in the frame that the camera's pose leads to."""

    origin: Array
    directions: Array


def camera_rays(
    intrinsic: Array, ego_from_camera: Array, width: int = 1600, height: int = 900, stride: int = 8
) -> CameraRays:
    """Rays through each `stride`-th pixel and through the image's border.

    With nuScenes' lenses (809 to 1273 px) 8 px are less than a 0.4 m voxel up to 40 m in each direction.

    Args:
        intrinsic: [3, 3] (px). ego_from_camera: [4, 4]; z looks ahead, x right, y down.
    """
    u, v = (np.append(np.arange(0, n, stride), n) for n in (width, height))
    pixels = np.stack(np.meshgrid(u, v, [1.0], indexing="ij"), axis=-1).reshape(-1, 3)
    in_camera = pixels @ np.linalg.inv(np.asarray(intrinsic, np.float64)).T
    return CameraRays(ego_from_camera[:3, 3].copy(), in_camera @ ego_from_camera[:3, :3].T)


def _in_voxels(points: Array, grid: VoxelGrid) -> Array:
    return (np.asarray(points, np.float64) - grid.origin) / grid.voxel_size


def _rays_of(origin: Array, shape: tuple[int, ...]) -> Array:
    return np.ascontiguousarray(np.broadcast_to(origin, shape))


@njit(cache=True, nogil=True)
def _see(solid, origins, directions, reach, seen):
    for r in range(len(directions)):
        near, far = span_of(origins[r], directions[r], solid.shape, reach)
        if near > far:
            continue
        voxel, step, border, gap = begin(origins[r], directions[r], near, solid.shape)
        starts_inside = near == 0.0
        while inside(voxel, solid.shape):
            seen[voxel] = True
            if (solid[voxel] and not starts_inside) or min(border) > far:
                break
            starts_inside = False
            voxel, border = follow(voxel, step, border, gap)
