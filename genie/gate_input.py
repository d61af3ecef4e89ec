"""The present observation, as far as the change gate sees it, and the cells of its columns.

Shapes: N = 2500 columns of 16 cells, K objects.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from genie.grid import CELLS, COLUMNS
from perception.types import GRID

N = COLUMNS * COLUMNS
SIDE = GRID.shape[0]


class GateInput(NamedTuple):
    """rows, raised, lowered: int32 [40000, 4], as observed, and a voxel higher and lower. object_id: int32 [40000].
    small: int32 [40000] (genie.observation.small_things). objects: [K, F]. now_from_previous: [3].
    continues, dt, refresh: [1]; dt in seconds, refresh 1 in a burst.
    """

    rows: Tensor
    raised: Tensor
    lowered: Tensor
    object_id: Tensor
    small: Tensor
    objects: Tensor
    now_from_previous: Tensor
    continues: Tensor
    dt: Tensor
    refresh: Tensor


@functools.cache
def _cells_of_columns() -> NDArray[np.int32]:
    cells = np.arange(SIDE * SIDE, dtype=np.int32).reshape(COLUMNS, CELLS, COLUMNS, CELLS)
    flat: NDArray[np.int32] = cells.transpose(0, 2, 1, 3).reshape(N, CELLS * CELLS)
    return flat


def cells_of_columns(device: torch.device) -> Int[Tensor, "N 16"]:
    """Flat cells of each column, int32."""
    return torch.from_numpy(_cells_of_columns()).to(device)


def cell_offsets(device: torch.device) -> Float[Tensor, "16 2"]:
    """Cell centres relative to their column's centre (m)."""
    axis = (torch.arange(CELLS, dtype=torch.float32, device=device) - (CELLS - 1) / 2) * GRID.voxel_size
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
