"""Which voxels of the ego grid lie inside annotated boxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import apply, inverse, se3_from_xyz_yaw
from genie.data.tracks import Boxes
from perception.types import FREE, GRID, VoxelGrid


class BoxVoxels(NamedTuple):
    """row: which box. flat: int64 [N], flat indices of the voxels whose centres it contains."""

    row: int
    flat: NDArray[np.int64]


def voxels_of_boxes(
    boxes: Boxes, ego_from_world: NDArray[np.float64], *, margin: float = 0.0, grid: VoxelGrid = GRID
) -> Iterator[BoxVoxels]:
    """Voxels whose centres lie inside each box that reaches into the grid.

    Args:
        boxes: in the world frame.
        ego_from_world: float64 [4, 4].
        margin: added on each face (m). Each side counts as one voxel at least: thinner boxes fall between centres.
    """
    ego_from_box = ego_from_world @ se3_from_xyz_yaw(boxes.center_world, boxes.yaw_world)
    half = np.maximum(boxes.size_lwh, grid.voxel_size) / 2 + margin
    reach = np.einsum("bij,bj->bi", np.abs(ego_from_box[:, :3, :3]), half)
    lower = np.ceil((ego_from_box[:, :3, 3] - reach - grid.origin) / grid.voxel_size - 0.5).astype(int).clip(0)
    upper = np.floor((ego_from_box[:, :3, 3] + reach - grid.origin) / grid.voxel_size - 0.5).astype(int) + 1
    upper = np.minimum(upper, grid.shape)
    for row in np.flatnonzero((lower < upper).all(axis=1)):
        axes = [np.arange(a, b) for a, b in zip(lower[row], upper[row], strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        centers = (index + 0.5) * grid.voxel_size + grid.origin
        inside = (np.abs(apply(inverse(ego_from_box[row]), centers)) <= half[row]).all(axis=1)
        yield BoxVoxels(int(row), np.ravel_multi_index(tuple(index[inside].T), grid.shape))


def mask_of_boxes(
    boxes: Boxes, ego_from_world: NDArray[np.float64], *, margin: float = 0.0, grid: VoxelGrid = GRID
) -> NDArray[np.bool_]:
    """bool [X, Y, Z]: inside any of the boxes."""
    out = np.zeros(grid.shape, bool)
    for voxels in voxels_of_boxes(boxes, ego_from_world, margin=margin, grid=grid):
        out.reshape(-1)[voxels.flat] = True
    return out


def rasterise_boxes(boxes: Boxes, ego_from_world: NDArray[np.float64], grid: VoxelGrid = GRID) -> NDArray[np.uint8]:
    """uint8 [X, Y, Z]: the class of the box that contains the voxel centre (later boxes win), free elsewhere."""
    out = np.full(grid.shape, FREE, np.uint8)
    for voxels in voxels_of_boxes(boxes, ego_from_world, grid=grid):
        out.reshape(-1)[voxels.flat] = boxes.class_id[voxels.row]
    return out
