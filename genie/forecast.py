"""The forecast is moved, not generated: one gather per horizon from the present observation.

Every future cell looks up one row of 16 voxels in a table of six parts:
    observed   the present observation, as it is
    kept       static columns of earlier observations that were nearer to where they are needed (genie/evidence.py)
    bare       what lies flat under the cells of objects, copied from the nearest cell that none covers
    movers     the voxels of objects over that ground
    border     the ground at the border, continued outwards
    invented   columns outside the observation, decoded once
Which row, follows from the future ego pose (static content) or from an object's rigid motion (genie/landing.py).

Shapes: H horizons, K objects, C object cells, R invented columns; 40000 = 200 x 200 cells, x major; a row: four int32.
`genie/plain_move.py` is the plain numpy twin.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from genie.columns import compose
from genie.decoder import EXTENDED, PAD, Invented
from genie.evidence import BLOCK_M, BLOCK_SIDE, MAX_KEPT, NOTHING_KEPT, PER_BLOCK
from genie.grid import CELLS, COLUMNS
from genie.landing import landings
from genie.observation import MAX_OBJECT_CELLS, MOVES_ABOVE_M
from genie.packing import pack
from genie.ring import ring_count, ring_table
from perception.types import GRID

SIDE = GRID.shape[0]
CELL_COUNT = SIDE * SIDE
EXTENDED_SIDE = EXTENDED * CELLS
# Where the parts of the row table begin; the observed rows are first.
BARE_ROWS = CELL_COUNT + MAX_KEPT
MOVER_ROWS = BARE_ROWS + MAX_OBJECT_CELLS
BORDER_ROWS = MOVER_ROWS + MAX_OBJECT_CELLS
INVENTED_ROWS = BORDER_ROWS + ring_count(COLUMNS) * CELLS * CELLS
OBSERVED, MOVED, INVENTED = 0, 1, 2  # where a forecast cell came from


class SeenRows(NamedTuple):
    """The present observation (genie/inputs.py).

    rows:         int32 [40000, 4].
    object_id:    int32 [40000], 0 or 1 + the object's row.
    object_cells: int32 [C], cells of objects, -1 where there are fewer.
    bare, movers: int32 [C, 4], the ground under each object cell, and what is movable in it over that ground.
    border:       int32 [G, 16, 4], the ground at the border, as it goes on outwards.
    """

    rows: Tensor
    object_id: Tensor
    object_cells: Tensor
    bare: Tensor
    movers: Tensor
    border: Tensor


class KeptColumns(NamedTuple):
    """genie.evidence.FusedEvidence as tensors: block int32 [S, S], row int32 [W], columns int32 [M, 4], fine_from_ego
    float32 [3]."""

    block: Tensor
    row: Tensor
    columns: Tensor
    fine_from_ego: Tensor


class Moved(NamedTuple):
    """rows: int32 [H, 200, 200, 4] in the future ego frames. moved, invented: bool [H, 200, 200], cells that are not
    observed but moved, or invented."""

    rows: Tensor
    moved: Tensor
    invented: Tensor

    def origin(self) -> Int[Tensor, "H 200 200"]:
        """OBSERVED, MOVED or INVENTED."""
        return torch.where(self.invented, INVENTED, torch.where(self.moved, MOVED, OBSERVED)).to(torch.int32)


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table at an index of any shape: of numbers by a gather of elements, which runtimes have for them alone
    and do several times as fast, else by a plain one. In an export int32 indices are not widened."""
    if table.dim() == 1 and table.dtype != torch.bool:
        return table.gather(0, index.reshape(-1).long()).reshape(index.shape)
    return table[index]


def row_table(seen: SeenRows, kept: Int[Tensor, "M 4"], invented: Invented) -> Int[Tensor, "T 4"]:
    return torch.cat([seen.rows, kept, seen.bare, seen.movers, seen.border.flatten(0, 1), pack(invented.classes)])


@functools.cache
def _plain_background() -> NDArray[np.int32]:
    """Extended cells [EXTENDED_SIDE ** 2, and one that is never read]: the observed cell, or the border continued."""
    along = np.arange(EXTENDED_SIDE) - PAD * CELLS
    i, j = np.meshgrid(along, along, indexing="ij")
    inside = (i >= 0) & (i < SIDE) & (j >= 0) & (j < SIDE)
    column = np.stack([np.floor_divide(i, CELLS), np.floor_divide(j, CELLS)], -1)
    clamped = column.clip(-1, COLUMNS) + 1
    ring = ring_table(COLUMNS)[clamped[..., 0] * (COLUMNS + 2) + clamped[..., 1]]
    row = np.where(inside, i * SIDE + j, BORDER_ROWS + ring * CELLS * CELLS + i % CELLS * CELLS + j % CELLS)
    return np.append(row.ravel(), 0).astype(np.int32)


def _extended_index(cells: Tensor) -> Tensor:
    """Flat index of grid cells [...] in the extended grid, int32."""
    i = torch.div(cells, SIDE, rounding_mode="trunc")
    return i * (EXTENDED_SIDE - SIDE) + cells + (PAD * CELLS * (EXTENDED_SIDE + 1))


def extended_background(seen: SeenRows, moves: Tensor, chosen: Int[Tensor, " R"]) -> Int[Tensor, " E"]:
    """Row of each cell of the extended grid, BARE_ROWS and above where no evidence of the past may be shown: one table
    for all horizons.

    Args:
        moves: bool [C], that object cell will have been left.
        chosen: extended columns that were decoded, as genie.decoder.choose_columns gives them.
    """
    device = seen.rows.device
    table = torch.from_numpy(_plain_background()).to(device)
    within = torch.arange(CELLS * CELLS, device=device)
    corner = torch.div(chosen, EXTENDED, rounding_mode="trunc") * CELLS * EXTENDED_SIDE + chosen % EXTENDED * CELLS
    place = torch.div(within, CELLS, rounding_mode="trunc") * EXTENDED_SIDE + within % CELLS
    decoded = (corner.reshape(-1, 1) + place).reshape(-1)
    rows = torch.arange(len(decoded), dtype=torch.int32, device=device) + INVENTED_ROWS
    table = table.index_put((decoded.long(),), rows)
    cells = seen.object_cells.clamp(min=0)
    where = torch.where(moves, _extended_index(cells), EXTENDED_SIDE * EXTENDED_SIDE)
    return table.index_put((where.long(),), torch.arange(len(cells), dtype=torch.int32, device=device) + BARE_ROWS)


def _affine(pose: Float[Tensor, "H 3"], origin: float, cell: float) -> tuple[Tensor, Tensor]:
    """Coordinates u, v [H, 200, 200] (in `cell`s from `origin`) of future cell centres by planar poses: sums of what
    each axis contributes, so that nothing is multiplied per cell."""
    x, y, yaw = pose.unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    axis = GRID.origin[0] + (torch.arange(SIDE, dtype=torch.float32, device=pose.device) + 0.5) * GRID.voxel_size
    along_x = [(w.unsqueeze(1) * axis + t.unsqueeze(1) - origin) / cell for w, t in ((cos, x), (sin, y))]
    along_y = [w.unsqueeze(1) * axis / cell for w in (-sin, cos)]
    u, v = (a.unsqueeze(2) + b.unsqueeze(1) for a, b in zip(along_x, along_y, strict=True))
    return u, v


def _flat(u: Tensor, v: Tensor, side: int, stride: int | None = None) -> Tensor:
    """Index of a cell, clamped to side x side: int32. stride: of the first axis, `side` where none is told."""
    i, j = (torch.clamp(w, 0, side - 0.01).to(torch.int32) for w in (u, v))
    return i * (side if stride is None else stride) + j


def background_rows(
    trajectory: Float[Tensor, "H 3"], extended: Int[Tensor, " E"], kept: KeptColumns
) -> Int[Tensor, "H 200 200"]:
    """Row of each future cell if nothing moved into it."""
    corner = GRID.origin[0] - PAD * CELLS * GRID.voxel_size
    here = look_up(extended, _flat(*_affine(trajectory, corner, GRID.voxel_size), EXTENDED_SIDE))
    fine_from_future = compose(kept.fine_from_ego.unsqueeze(0), trajectory)
    u, v = _affine(fine_from_future, 0.0, BLOCK_M)
    block = look_up(kept.block.reshape(-1), _flat(u, v, BLOCK_SIDE))
    canvas = look_up(kept.row, block + _flat(u * PER_BLOCK, v * PER_BLOCK, BLOCK_SIDE * PER_BLOCK, PER_BLOCK))
    return torch.where((canvas != NOTHING_KEPT) & (here < BARE_ROWS), canvas - 1, here)


def move(
    seen: SeenRows,
    objects_center: Float[Tensor, "K 2"],
    displacement: Float[Tensor, "H K 3"],
    trajectory: Float[Tensor, "H 3"],
    invented: Invented,
    kept: KeptColumns,
) -> Moved:
    """The six future scenes.

    Args:
        displacement: shift (m) and turn (rad) of each object about its centre, in the present ego frame.
        trajectory: future ego poses in the present ego frame.
    """
    last = displacement[-1, :, :2]
    moving = torch.nn.functional.pad((last * last).sum(-1) > MOVES_ABOVE_M**2, (1, 0))
    owner = torch.where(seen.object_cells < 0, 0, look_up(seen.object_id, seen.object_cells.clamp(min=0)))
    moves = look_up(moving, owner)
    extended = extended_background(seen, moves, invented.chosen)
    background = background_rows(trajectory, extended, kept)
    landed = landings(trajectory, displacement, objects_center, seen.object_cells.clamp(min=0), owner, moves)
    # One cell more, for what lands nowhere.
    row = torch.nn.functional.pad(background.reshape(-1), (0, 1))
    row = row.index_put((landed.future_cell,), landed.object_cell + MOVER_ROWS)[:-1].reshape(background.shape)
    beyond = row >= BORDER_ROWS
    return Moved(look_up(row_table(seen, kept.columns, invented), row), (row >= MOVER_ROWS) & ~beyond, beyond)
