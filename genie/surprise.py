"""Surprise: how far a column, as observed, contradicts what it was last computed from, where that is expected now.

    first look   every column, cell by cell against the nearest one: where nothing differs, nothing can surprise
    examination  the EXAMINED columns that differ least, with the tolerance of the half-voxel bracket and of a voxel up
                 or down; what is left differs most, and counts as it was found at first

A word is four voxels. It is no surprise if one of the four cells around its expected place holds it; and the other way
round, so that a thin thing that appears is one. `plain_surprise` examines every column: the plain twin.

Shapes: N = 2500 columns of 16 cells, m of them examined. SI units, present ego frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genie.columns import column_centers, whole_grid
from genie.forecast import look_up
from genie.gate_input import SIDE, GateInput, cell_offsets, cells_of_columns
from genie.gated_state import ColumnFacts
from genie.grid import CELLS
from genie.rows import WORDS
from perception.types import GRID

EXAMINED = 512  # of 2500 columns
CELLS_A_COLUMN = CELLS * CELLS
MOST_WORDS = CELLS_A_COLUMN * WORDS
TIE = 1e-6  # columns that differ by as much: by their place, the same in every runtime
AROUND = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))


class _Cells(NamedTuple):
    """Coordinates x, y in cells, [n, 16] each; inside: whether they are in the grid (or in the column)."""

    x: Tensor
    y: Tensor
    inside: Tensor


def surprise(seen: GateInput, expected: ColumnFacts) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Words of each column that contradict what was expected, and cells in which a small thing is, or is not, against
    what was expected: exactly there, no tolerance."""
    cells, centers = cells_of_columns(seen.rows.device), column_centers(whole_grid(device=seen.rows.device))[0]
    there, back = _expected_places(expected), _places_in_reference(expected, centers)
    here = _flat(there, SIDE)
    vanished = _count(look_up(seen.rows, here) != expected.reference, there.inside)
    held = look_up(expected.reference.reshape(-1, WORDS), _in_reference(back, len(centers)))
    appeared = _count(held != look_up(seen.rows, cells), back.inside)
    first = torch.maximum(vanished, appeared)
    ties = torch.arange(len(centers), dtype=torch.float32, device=first.device) * TIE
    doubt = torch.where(first > 0, 2.0 - first / MOST_WORDS, 0.0) - ties
    some = torch.topk(doubt, EXAMINED, sorted=True).indices
    words = first.index_put(
        (some,), _examine(seen, ColumnFacts(*(f[some] for f in expected)), cells[some], centers[some])
    )
    differs = (look_up(seen.small, here) != expected.small) & there.inside
    return words, differs.to(torch.float32).sum(dim=1)


def plain_surprise(seen: GateInput, expected: ColumnFacts) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """The same, every column examined."""
    cells, centers = cells_of_columns(seen.rows.device), column_centers(whole_grid(device=seen.rows.device))[0]
    there = _expected_places(expected)
    differs = (look_up(seen.small, _flat(there, SIDE)) != expected.small) & there.inside
    return _examine(seen, expected, cells, centers), differs.to(torch.float32).sum(dim=1)


def _examine(
    seen: GateInput, expected: ColumnFacts, cells: Int[Tensor, "m 16"], centers: Float[Tensor, "m 2"]
) -> Float[Tensor, " m"]:
    """Words with the tolerances, of some columns."""
    there, back = _expected_places(expected), _places_in_reference(expected, centers)
    # A slope lifts the ground by a voxel somewhere in every tick of a drive: a voxel up or down is no surprise.
    levels = (seen.rows, seen.raised, seen.lowered)
    x, y = ((w - 0.5).clamp(0, SIDE - 1.01).to(torch.int32) for w in there[:2])
    corner = x * SIDE + y
    found = torch.zeros_like(expected.reference, dtype=torch.bool)
    for level in levels:
        for beside in (0, 1, SIDE, SIDE + 1):
            found = found | (look_up(level, corner + beside) == expected.reference)
    vanished = _count(~found, there.inside)

    reference = expected.reference.reshape(-1, WORDS)
    own = [look_up(level, cells) for level in levels]
    low = [torch.floor(w - 0.5) for w in back[:2]]
    found = torch.zeros_like(found)
    for step in AROUND:
        beside_x, beside_y = (w + s for w, s in zip(low, step, strict=True))
        held = look_up(reference, _in_reference(_Cells(beside_x, beside_y, back.inside), len(cells)))
        for level in own:
            found = found | (held == level)
    return torch.maximum(vanished, _count(~found, back.inside))


def _expected_places(expected: ColumnFacts) -> _Cells:
    """Where the cells of each reference are expected, in cells of the present grid."""
    offsets = cell_offsets(expected.place.device).T
    x, y, yaw = expected.place.unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    drift = expected.velocity * expected.age.unsqueeze(1)
    along = (torch.stack(turned, dim=1) @ offsets for turned in ((cos, -sin), (sin, cos)))
    i, j = (
        (part + (centre - GRID.origin[0]).unsqueeze(1) + drift[:, axis : axis + 1] * expected.moves) / GRID.voxel_size
        for axis, (part, centre) in enumerate(zip(along, (x, y), strict=True))
    )
    return _Cells(i, j, (i >= 0) & (i < SIDE) & (j >= 0) & (j < SIDE))


def _places_in_reference(expected: ColumnFacts, centers: Float[Tensor, "n 2"]) -> _Cells:
    """Where the cells of each present column are in its reference, in cells from the reference's corner. Beyond it
    another column's reference tells; and what moves has moved in its block."""
    offsets = cell_offsets(centers.device).T
    x, y = (expected.place[:, :2] - centers).unbind(-1)
    cos, sin = expected.place[:, 2].cos(), expected.place[:, 2].sin()
    i, j = (
        (torch.stack(turned, dim=1) @ offsets + centre.unsqueeze(1)) / GRID.voxel_size + CELLS / 2
        for turned, centre in (((cos, sin), -(cos * x + sin * y)), ((-sin, cos), sin * x - cos * y))
    )
    stands = (expected.velocity.square().sum(-1) == 0).unsqueeze(-1)
    return _Cells(i, j, (i > 0) & (i < CELLS) & (j > 0) & (j < CELLS) & stands)


def _flat(at: _Cells, side: int) -> Int[Tensor, "n 16"]:
    x, y = (w.clamp(0, side - 0.01).to(torch.int32) for w in at[:2])
    return x * side + y


def _in_reference(at: _Cells, columns: int) -> Int[Tensor, "n 16"]:
    """Rows of the table of all references."""
    first = torch.arange(columns, dtype=torch.int32, device=at.x.device).unsqueeze(1) * CELLS_A_COLUMN
    return first + _flat(at, CELLS)


def _count(words: Bool[Tensor, "n 16 4"], inside: Bool[Tensor, "n 16"]) -> Float[Tensor, " n"]:
    """Of the cells inside."""
    return (words.to(torch.float32).sum(dim=2) * inside.to(torch.float32)).sum(dim=1)
