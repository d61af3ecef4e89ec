"""Nearest-voxel warp: the scene as another ego frame would see it, if nothing moved but the ego."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception.types import FREE, GRID, VoxelGrid


def ego_warp(
    semantics: NDArray[np.uint8],
    source_from_target: NDArray[np.float64],
    *,
    outside: int = FREE,
    grid: VoxelGrid = GRID,
) -> NDArray[np.uint8]:
    """Looks each target voxel's centre up in the source.

    Args:
        semantics: uint8 [X, Y, Z] in the source ego frame.
        source_from_target: float64 [4, 4], e.g. ego_from_future.
        outside: class of voxels whose centres lie outside the source grid.

    Returns:
        uint8 [X, Y, Z] in the target ego frame.
    """
    if is_planar(source_from_target):
        return _warp_columns(semantics, source_from_target, outside, grid)
    return warp_voxels(semantics, source_from_target, outside=outside, grid=grid)


def is_planar(source_from_target: NDArray[np.float64]) -> bool:
    """No roll, no pitch: then a column of voxels stays a column."""
    rotation = source_from_target[:3, :3]
    return not (rotation[2, :2].any() or rotation[:2, 2].any())


def warp_voxels(
    semantics: NDArray[np.uint8],
    source_from_target: NDArray[np.float64],
    *,
    outside: int = FREE,
    grid: VoxelGrid = GRID,
) -> NDArray[np.uint8]:
    """`ego_warp` for any rigid transform, voxel by voxel; the plain twin of the column path."""
    index, inside = _source_index(source_from_target, (0, 1, 2), (0, 1, 2), grid)
    flat = (index[0] * grid.shape[1] + index[1]) * grid.shape[2] + index[2]
    return np.where(inside, semantics.ravel().take(np.where(inside, flat, 0)), np.uint8(outside))


def _warp_columns(
    semantics: NDArray[np.uint8], source_from_target: NDArray[np.float64], outside: int, grid: VoxelGrid
) -> NDArray[np.uint8]:
    index, inside = _source_index(source_from_target, (0, 1), (0, 1), grid)
    (level,), level_inside = _source_index(source_from_target, (2,), (2,), grid)
    # One more column, for whatever lies outside.
    columns = np.full((grid.shape[0] * grid.shape[1] + 1, grid.shape[2]), outside, np.uint8)
    columns[:-1, level_inside] = semantics.reshape(-1, grid.shape[2])[:, level[level_inside]]
    return columns.take(np.where(inside, index[0] * grid.shape[1] + index[1], len(columns) - 1), axis=0)


def _source_index(
    source_from_target: NDArray[np.float64], rows: tuple[int, ...], axes: tuple[int, ...], grid: VoxelGrid
) -> tuple[list[NDArray[np.int32]], NDArray[np.bool_]]:
    """Source indices along `rows` of the centres spanned by the target's `axes`, and whether all lie in range."""
    centers = np.meshgrid(
        *(grid.origin[a] + (np.arange(grid.shape[a]) + 0.5) * grid.voxel_size for a in axes), indexing="ij", sparse=True
    )
    index, inside = [], np.ones(tuple(grid.shape[a] for a in axes), bool)
    for row in rows:
        place = source_from_target[row, 3] - grid.origin[row]
        for axis, center in zip(axes, centers, strict=True):
            place = place + source_from_target[row, axis] * center
        along = np.floor(place / grid.voxel_size).astype(np.int32)
        inside &= (along >= 0) & (along < grid.shape[row])
        index.append(along)
    return index, inside
