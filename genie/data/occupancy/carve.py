"""What the rays of a scene saw through: static points that only passed by, and what a keyframe's lidar observed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, apply
from genie.data.occupancy.accumulate import Rays, Scan
from genie.data.occupancy.cells import Cells
from genie.data.occupancy.config import OccupancyConfig
from genie.data.occupancy.ground import Ground
from genie.data.raycast import Carved, carve
from perception.types import GRID, VoxelGrid

_NEAR_GROUND = 0.5  # m: rays graze the ground for many metres before they hit it, and would carve it away


def passing(cells: Cells, scan: Scan, ground: Ground, config: OccupancyConfig) -> NDArray[np.bool_]:
    """Entries [n] of what moved without a box: many rays crossed their voxel, few ended there. Never the ground."""
    if not len(cells.number):
        return np.zeros(0, bool)
    grid = _grid_around(cells.point - scan.center)
    counts = Carved(np.zeros(grid.shape, np.uint32), np.zeros(grid.shape, np.uint32))
    for rays in scan.rays:
        carve(rays.origin, _short_of(rays, config.before_hit), grid, into=counts)
    counts.hit[:] = 0
    index = grid.index_of(cells.point - scan.center)
    np.add.at(counts.hit, tuple(index.T), cells.number.astype(np.uint32))
    crossed, ended = (c[tuple(index.T)].astype(np.float64) for c in counts)
    often = (crossed >= config.min_crossings) & (ended <= config.max_hit_share * (crossed + ended))
    return often & (ground.above(cells.point) > _NEAR_GROUND)


def _short_of(rays: Rays, distance: float) -> Array:
    """Ends that lie `distance` m before the hits; at the sensor where the hit is nearer than that."""
    along = rays.ends - rays.origin
    length = np.linalg.norm(along, axis=1, keepdims=True)
    return np.asarray(rays.origin + along * np.maximum(1 - distance / np.maximum(length, 1e-6), 0.0))


def _grid_around(points: Array) -> VoxelGrid:
    size = GRID.voxel_size
    low = np.floor(points.min(0) / size) * size
    shape = np.floor((points.max(0) - low) / size).astype(int) + 1
    return VoxelGrid((int(shape[0]), int(shape[1]), int(shape[2])), size, (low[0], low[1], low[2]))


def observed(scan: Scan, stamp_us: int, ego_from_levelled: Array, within_s: float) -> Carved:
    """Crossings and hits of the rays of the sweeps up to `within_s` from a keyframe, in its ego grid.

    Args:
        ego_from_levelled: float64 [4, 4], from coordinates that count from `scan.center`.
    """
    counts = Carved(np.zeros(GRID.shape, np.uint32), np.zeros(GRID.shape, np.uint32))
    for rays in scan.rays:
        if abs(rays.stamp_us - stamp_us) <= within_s * 1e6:
            origin = apply(ego_from_levelled, rays.origin)
            carve(origin, apply(ego_from_levelled, rays.ends.astype(np.float64)), into=counts)
    return counts
