"""The 50 x 50 columns of 4x4x16 voxels: their order, their positions, and gathers between frames.

Shapes: B batch, C columns a side, N = C * C tokens in row order (x major), P past frames.
A window is a square of columns: the whole grid on the car, a crop in training.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genie.grid import CELLS, COLUMN_M, COLUMNS
from perception.types import GRID


class Window(NamedTuple):
    """first: int64 [B, 2], the column index of its corner; side: columns along it."""

    first: Tensor
    side: int


class WarpedColumns(NamedTuple):
    """For each present column the past column that is there now: rows [B, N] of the past window, inside [B, N]."""

    rows: Tensor
    inside: Tensor


def whole_grid(batch: int = 1, device: torch.device | None = None) -> Window:
    return Window(torch.zeros(batch, 2, dtype=torch.long, device=device), COLUMNS)


def to_columns(cells: Tensor) -> Tensor:
    """[B, 4C, 4C, ...] -> [B, C * C, 16, ...]: the cells of each column together."""
    batch, side = cells.shape[0], cells.shape[1] // CELLS
    rest = cells.shape[3:]
    x = cells.reshape(batch, side, CELLS, side, CELLS, *rest).transpose(2, 3)
    return x.reshape(batch, side * side, CELLS * CELLS, *rest)


def take_rows(table: Float[Tensor, "B K F"], index: Int[Tensor, "B N"]) -> Float[Tensor, "B N F"]:
    """Rows of a batched table, as one plain Gather."""
    batch, rows, channels = table.shape
    flat = index.long()
    if batch > 1:
        flat = flat + torch.arange(batch, device=index.device).unsqueeze(1) * rows
    return table.reshape(batch * rows, channels)[flat]


def local_positions(side: int, device: torch.device | None = None) -> Float[Tensor, "N 2"]:
    """Column coordinates within a window, (0, 0) at its corner column."""
    axis = torch.arange(side, dtype=torch.float32, device=device)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)


def column_centers(window: Window) -> Float[Tensor, "B N 2"]:
    """Centres (m) of the columns of a window in the ego frame."""
    local = local_positions(window.side, window.first.device)
    return (local + window.first.unsqueeze(1) + 0.5) * COLUMN_M + GRID.origin[0]


def column_of(xy: Float[Tensor, "B K 2"], window: Window) -> Int[Tensor, "B K"]:
    """Index within the window of the column that holds a point (m), clamped to the window."""
    index = torch.floor((xy - GRID.origin[0]) / COLUMN_M).long() - window.first.unsqueeze(1)
    index = torch.clamp(index, 0, window.side - 1)
    return index[..., 0] * window.side + index[..., 1]


def in_window(xy: Float[Tensor, "B K 2"], window: Window) -> Tensor:
    """Whether points (m) lie in the window, [B, K]."""
    index = torch.floor((xy - GRID.origin[0]) / COLUMN_M).long() - window.first.unsqueeze(1)
    return ((index >= 0) & (index < window.side)).to(torch.int32).sum(dim=-1) == 2


def transform(target_from_source: Float[Tensor, "... 3"], xy: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
    """Points by planar poses (x, y, yaw); the leading dimensions broadcast."""
    x, y, yaw = target_from_source.unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    px, py = xy.unbind(-1)
    return torch.stack([cos * px - sin * py + x, sin * px + cos * py + y], dim=-1)


def invert(target_from_source: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """source_from_target of planar poses."""
    x, y, yaw = target_from_source.unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    return torch.stack([-(cos * x + sin * y), sin * x - cos * y, -yaw], dim=-1)


def compose(target_from_middle: Float[Tensor, "... 3"], middle_from_source: Float[Tensor, "... 3"]) -> Tensor:
    """target_from_source of planar poses; yaw is not wrapped."""
    xy = transform(target_from_middle, middle_from_source[..., :2])
    yaw = target_from_middle[..., 2] + middle_from_source[..., 2]
    return torch.cat([xy, yaw.unsqueeze(-1)], dim=-1)


def warp_columns(past_from_now: Float[Tensor, "B 3"], present: Window, past: Window) -> WarpedColumns:
    """Nearest past column for each present column centre, looked up by the composite pose."""
    there = transform(past_from_now.unsqueeze(1), column_centers(present))
    index = torch.floor((there - GRID.origin[0]) / COLUMN_M).long() - past.first.unsqueeze(1)
    inside = ((index >= 0) & (index < past.side)).all(dim=-1)
    index = torch.clamp(index, 0, past.side - 1)
    return WarpedColumns(index[..., 0] * past.side + index[..., 1], inside)
