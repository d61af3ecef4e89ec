"""Which pixel of which camera shows each voxel, and how far away: computed once for a rig, in numpy.

N cameras, D bins of depth, h x w features of an image, V = I*J*K lifted voxels, S = 2 sights: most voxels are
seen by one camera, some by two. W = X*Y*Z voxels of the grid itself, which the finest features paint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.camera import project
from calib.rig import Camera, Intrinsics
from calib.transforms import Array, apply
from perception.config import ModelConfig
from perception.types import GRID, VoxelGrid

SIGHTS = 2


def lifted_grid(step: int, grid: VoxelGrid = GRID) -> VoxelGrid:
    """The grid that images are lifted into: `step` voxels a side."""
    x, y, z = (n // step for n in grid.shape)
    return VoxelGrid((x, y, z), grid.voxel_size * step, grid.origin)


def depth_borders(bins: int, nearest: float, farthest: float) -> Array:
    """[bins + 1] (m along the optical axis): each bin is longer than the one before by the same ratio, as the error of
    depth grows with depth."""
    return np.geomspace(nearest, farthest, bins + 1)


class LiftTable(NamedTuple):
    """Of one rig. cell: int32 [S, V], into the N*h*w cells of all images. near, far: int32 [S, V], into their
    N*h*w*(D+1) borders of depth. paint: int32 [W], heights first, into the N*2h*2w cells of features twice as fine, of
    the camera that has the voxel nearest to its middle (`paint_table`); None for a network of one sensor. What
    no camera shows points one beyond the end."""

    cell: NDArray[np.int32]
    near: NDArray[np.int32]
    far: NDArray[np.int32]
    paint: NDArray[np.int32] | None = None


def lift_table(
    cameras: Sequence[Camera | None], intrinsics: Sequence[Intrinsics | None], config: ModelConfig, stride: int
) -> LiftTable:
    """The table of a rig.

    Args:
        cameras: N, in the order of the network's inputs; None where the rig has none of that name.
        intrinsics: of the network's images (perception.preprocess.plan_images).
        stride: px of an image a feature.
    """
    grid = lifted_grid(config.lift_step)
    centres = grid.centers().reshape(-1, 3)
    borders = depth_borders(config.depth_bins, config.nearest, config.farthest)
    wide, high = config.image_width // stride, config.image_height // stride
    count, cells = len(centres), len(cameras) * high * wide
    beyond = cells * len(borders)
    cell_of, near_of, far_of = (np.full((SIGHTS, count), nothing, np.int32) for nothing in (cells, beyond, beyond))
    parts = (cell_of, near_of, far_of)
    best = np.full((SIGHTS, count), np.inf)  # how far off the middle of the image, of the sights so far
    for index, (camera, lens) in enumerate(zip(cameras, intrinsics, strict=True)):
        if camera is None or lens is None:
            continue
        local = apply(camera.mount.sensor_from_ego, centres)
        seen = project(lens, local)
        inside = seen.inside & (local[:, 2] > borders[0]) & (local[:, 2] < borders[-1])
        rows = np.flatnonzero(inside)
        column, row = (np.floor((seen.pixels[rows] + 0.5) / stride).astype(np.int64)).T
        cell = (index * high + row) * wide + column
        depth, half = local[rows, 2], grid.voxel_size / 2
        near = np.searchsorted(borders, depth - half, side="right") - 1
        far = np.searchsorted(borders, depth + half, side="left")
        near = np.clip(near, 0, len(borders) - 2)
        far = np.clip(far, near + 1, len(borders) - 1)
        off = np.abs(seen.pixels[rows, 0] - lens.size[0] / 2) / lens.size[0]
        for sight in range(SIGHTS):  # put in order: a nearer one pushes the other back
            better = off < best[sight, rows]
            values = (cell, cell * len(borders) + near, cell * len(borders) + far)
            displaced = [part[sight, rows].copy() for part in parts]
            for part, value in zip(parts, values, strict=True):
                part[sight, rows] = np.where(better, value, part[sight, rows])
            was = best[sight, rows].copy()
            best[sight, rows] = np.where(better, off, was)
            off = np.where(better, was, off)
            cell = np.where(better, displaced[0], cell)
            near = np.where(better, displaced[1], values[1]) - cell * len(borders)
            far = np.where(better, displaced[2], values[2]) - cell * len(borders)
    return LiftTable(*parts)


def paint_table(
    cameras: Sequence[Camera | None], intrinsics: Sequence[Intrinsics | None], config: ModelConfig, stride: int
) -> NDArray[np.int32]:
    """Which cell of the finest features shows each voxel of the grid [W], in the order of lidar features: Z, X, Y."""
    centres = GRID.centers().transpose(2, 0, 1, 3).reshape(-1, 3)
    wide, high = config.image_width // stride, config.image_height // stride
    cells = np.full(len(centres), len(cameras) * high * wide, np.int32)
    best = np.full(len(centres), np.inf)  # how far off the middle of the image
    for index, (camera, lens) in enumerate(zip(cameras, intrinsics, strict=True)):
        if camera is None or lens is None:
            continue
        local = apply(camera.mount.sensor_from_ego, centres)
        seen = project(lens, local)
        off = np.abs(seen.pixels[:, 0] - lens.size[0] / 2) / lens.size[0]
        rows = np.flatnonzero(seen.inside & (local[:, 2] > config.nearest) & (off < best))
        column, row = (np.floor((seen.pixels[rows] + 0.5) / stride).astype(np.int64)).T
        cells[rows], best[rows] = (index * high + row) * wide + column, off[rows]
    return cells
