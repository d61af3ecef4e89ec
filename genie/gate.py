"""The change gate: which columns differ from what the model expected, before any network runs.

    advance   what each column was computed from, to where it is expected now: by the ego motion, objects by theirs
    assign    to each present column the computed column nearest to it
    surprise  words of its reference that no observed cell around their expected place holds (the half-voxel bracket,
              a voxel up or down included); small things exactly
    rank      what was never seen and what is due first, then by score; one sorted top-k

The reference of a column changes only when the column is computed, so that a slow drift adds up until it is seen.
Shapes: N = 2500 columns, 18 candidates a column, K objects; SI units, present ego frame.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from genie.columns import column_centers, compose, invert, transform, whole_grid
from genie.config import GateConfig
from genie.forecast import look_up
from genie.gated_state import ColumnFacts
from genie.grid import CELLS, COLUMN_M, COLUMNS
from genie.observation import MEASURED
from perception.types import GRID

N = COLUMNS * COLUMNS
SIDE = GRID.shape[0]
# A computed column stands for a present one up to a column away. Half a diagonal is too strict: columns computed at
# different times leave gaps of that size between them (measured on real motion: 4 times as many columns were unseen).
REACH_M = COLUMN_M
NEVER = 1e6  # m^2: a candidate that must not be taken
OTHER_KIND = COLUMN_M**2  # m^2: what moves stands in for what stands only if nothing else is near
FIRST = 32.0  # added to the score of what is needed, twice to that of what must be computed;
MOST = 15.0  # more than any score. Both small, so that float32 tells columns of equal score apart:
TIE = 1e-5  # by their place, the same in every runtime
OFF_M = GRID.voxel_size  # that a forecast of an object may be off before its columns are computed
OLDER, OLD_S = 2e-3, 60.0  # of score a second
FEATURES = 7


class GateInput(NamedTuple):
    """The present observation, as far as the gate sees it.

    rows, raised, lowered: int32 [40000, 4], as observed, and a voxel higher and lower. object_id: int32 [40000].
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


class Selection(NamedTuple):
    """order: int64 [N], columns by rank. needed: int32 [1], how many of them must be computed; the others are free
    choice. source: int64 [N], the computed column that stands for each present one. columns: the facts of those, at
    their expected places. owner: int32 [N], the object in each column, 0 or 1 + row. changed: [N], 1 where the
    observation contradicts what was expected, or nothing was. score: [N]."""

    order: Tensor
    needed: Tensor
    source: Tensor
    columns: ColumnFacts
    owner: Tensor
    changed: Tensor
    score: Tensor


@functools.cache
def _cells_of_columns() -> NDArray[np.int64]:
    """Flat cells of each column, [N, 16]."""
    cells = np.arange(SIDE * SIDE).reshape(COLUMNS, CELLS, COLUMNS, CELLS)
    flat: NDArray[np.int64] = cells.transpose(0, 2, 1, 3).reshape(N, CELLS * CELLS)
    return flat


def cells_of_columns(device: torch.device) -> Int[Tensor, "N 16"]:
    return torch.from_numpy(_cells_of_columns()).to(device)


def cell_offsets(device: torch.device) -> Float[Tensor, "16 2"]:
    """Cell centres relative to their column's centre (m)."""
    axis = (torch.arange(CELLS, dtype=torch.float32, device=device) - (CELLS - 1) / 2) * GRID.voxel_size
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)


class ChangeGate(nn.Module):
    """Selects columns. Its learned part predicts the logarithm of the error that not computing a column would cause; at
    first it is the logarithm of the surprise."""

    def __init__(self, config: GateConfig) -> None:
        super().__init__()
        self.config = config
        last = nn.Linear(16, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.score = nn.Sequential(nn.Linear(FEATURES, 16), nn.GELU(), last)

    def forward(self, seen: GateInput, columns: ColumnFacts) -> Selection:
        device = seen.rows.device
        expected = advance(columns, seen)
        owner = look_up(seen.object_id, cells_of_columns(device)).amax(dim=-1)
        velocity = look_up(nn.functional.pad(seen.objects[:, MEASURED], (0, 0, 1, 0)), owner)
        left = left_by_object(expected, owner, seen)
        source, distance = assign(expected, velocity, seen)
        expected = ColumnFacts(*(fact[source] for fact in expected))
        unseen = (distance > REACH_M**2) | (expected.filled < 0.5)
        expected = expected._replace(filled=torch.where(unseen, 0.0, expected.filled))
        words, small = surprise(seen, expected)
        due = (expected.stale > 0.5) & (expected.age >= self.config.refresh_s) & (seen.refresh > 0.5)
        must = unseen | due
        # What is carried with another velocity than it has by now is a voxel off, even where it looks alike inside.
        off = (velocity - expected.velocity).square().sum(-1) * expected.age.square()
        turned = (owner > 0) & (expected.occupied > 0.5) & (off > OFF_M**2)
        comes = (owner > 0) & (expected.occupied < 0.5)  # also where the reference does not reach
        changed = unseen | comes | left | turned | (words >= self.config.surprise_above) | (small > 0.5)
        needed = changed | due
        prior = torch.log1p(words) + torch.log1p(4.0 * small)
        features = [torch.log1p(words), torch.log1p(small), torch.log1p(expected.age), expected.stale, unseen.float()]
        moving = (velocity.square().sum(-1) > 0).float(), (expected.velocity.square().sum(-1) > 0).float()
        learned = self.score(torch.stack([*features, *moving], dim=-1))[:, 0]
        # Of equal scores the oldest: what a bucket has to spare repairs what has waited longest.
        score = (prior + learned).clamp(-MOST, MOST) + OLDER * expected.age.clamp(max=OLD_S)
        tie = torch.arange(N, dtype=torch.float32, device=device) * TIE
        rank = score + needed.float() * FIRST + must.float() * FIRST - tie
        order = torch.topk(rank, N, sorted=True).indices
        count = needed.float().sum().reshape(1).to(torch.int32)
        return Selection(order, count, source, expected, owner, changed.float(), score)


def advance(columns: ColumnFacts, seen: GateInput) -> ColumnFacts:
    """To the present ego frame and time. Nothing is resampled: places are exact."""
    place = compose(seen.now_from_previous.unsqueeze(0), columns.place)
    turn = torch.cat([torch.zeros_like(seen.now_from_previous[:2]), seen.now_from_previous[2:]])
    return columns._replace(
        place=place,
        velocity=transform(turn.unsqueeze(0), columns.velocity),
        age=columns.age + seen.dt,
        filled=columns.filled * seen.continues,
    )


def left_by_object(expected: ColumnFacts, owner: Int[Tensor, " N"], seen: GateInput) -> Tensor:
    """Columns that a moving object has left, bool [N]: what it covered is seen for the first time."""
    centers = column_centers(whole_grid(device=owner.device))[0]
    was = torch.floor((transform(invert(seen.now_from_previous), centers) - GRID.origin[0]) / COLUMN_M)
    inside = ((was >= 0) & (was < COLUMNS)).all(dim=-1)
    was = was.clamp(0, COLUMNS - 1).to(torch.int32)
    held = look_up(expected.held, was[:, 0] * COLUMNS + was[:, 1])
    return inside & (held > 0.5) & (owner == 0)


def assign(
    expected: ColumnFacts, velocity: Float[Tensor, "N 2"], seen: GateInput
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """The computed column whose content is expected nearest to each present column, and their squared distance (m^2).

    Candidates lie around where the column was in the previous grid: as ground, and as part of the object that is in it
    now (velocity: of that object).
    """
    centers = column_centers(whole_grid(device=velocity.device))[0]
    previous_from_now = invert(seen.now_from_previous)
    was = torch.stack([centers, centers - velocity * seen.dt])  # (2, N, 2)
    index = torch.floor((transform(previous_from_now, was) - GRID.origin[0]) / COLUMN_M).to(torch.int32)
    step = torch.arange(-1, 2, dtype=torch.int32, device=velocity.device)
    around = torch.stack(torch.meshgrid(step, step, indexing="ij"), dim=-1).reshape(1, 9, 1, 2)
    candidate = (index.unsqueeze(1) + around).flatten(0, 1)  # (18, N, 2)
    outside = ((candidate < 0) | (candidate >= COLUMNS)).any(dim=-1)
    candidate = candidate.clamp(0, COLUMNS - 1)
    row = candidate[..., 0] * COLUMNS + candidate[..., 1]
    moving = (expected.velocity.square().sum(-1) > 0).to(velocity.dtype)
    xy = expected.place[:, :2] + expected.velocity * expected.age.unsqueeze(1)
    x, y, filled, moves = look_up(
        torch.cat([xy, expected.filled.unsqueeze(1), moving.unsqueeze(1)], dim=1), row
    ).unbind(-1)
    distance = (x - centers[:, 0]) ** 2 + (y - centers[:, 1]) ** 2
    other = (moves - (velocity.square().sum(-1) > 0).to(velocity.dtype)).abs() * OTHER_KIND
    cost = torch.where(outside | (filled < 0.5), NEVER, distance + other)
    best = cost.argmin(dim=0, keepdim=True)
    possible = torch.where(cost < NEVER, distance, NEVER)
    return row.gather(0, best)[0].long(), possible.gather(0, best)[0]


def surprise(seen: GateInput, expected: ColumnFacts) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Words (four voxels) of each column's reference that none of the four observed cells around their expected place
    holds, and cells in which a small thing is, or is not, against what was expected."""
    turn = torch.cat([torch.zeros_like(expected.place[:, :2]), expected.place[:, 2:]], dim=1)
    offset = transform(turn.unsqueeze(1), cell_offsets(turn.device).unsqueeze(0))  # (N, 16, 2)
    drift = (expected.velocity * expected.age.unsqueeze(1)).unsqueeze(1) * expected.moves.unsqueeze(2)
    at = (expected.place[:, None, :2] + offset + drift - GRID.origin[0]) / GRID.voxel_size
    inside = ((at >= 0) & (at < SIDE)).all(dim=-1)
    low = (at - 0.5).clamp(0, SIDE - 1.01).to(torch.int32)
    corner = low[..., 0] * SIDE + low[..., 1]
    found = torch.zeros_like(expected.reference, dtype=torch.bool)
    # A slope lifts the ground by a voxel somewhere in every tick of a drive: a voxel up or down is no surprise.
    for level in (seen.rows, seen.raised, seen.lowered):
        for beside in (0, 1, SIDE, SIDE + 1):
            found = found | (look_up(level, corner + beside) == expected.reference)
    words = torch.where(found | ~inside.unsqueeze(-1), 0.0, 1.0).sum(dim=(1, 2))
    here = at.clamp(0, SIDE - 0.01).to(torch.int32)
    differs = look_up(seen.small, here[..., 0] * SIDE + here[..., 1]) != expected.small
    return torch.maximum(words, _appeared(seen, expected)), torch.where(differs & inside, 1.0, 0.0).sum(dim=1)


def _appeared(seen: GateInput, expected: ColumnFacts) -> Float[Tensor, " N"]:
    """The other way round: words of each column as observed that its reference holds nowhere around. A thin thing that
    appears contradicts no reference, since every cell of it still finds a free neighbour."""
    device = seen.rows.device
    cells, centers = cells_of_columns(device), column_centers(whole_grid(device=device))[0]
    place = invert(torch.cat([expected.place[:, :2] - centers, expected.place[:, 2:]], dim=1))
    at = transform(place.unsqueeze(1), cell_offsets(device).unsqueeze(0)) / GRID.voxel_size + CELLS / 2
    inside = ((at > 0) & (at < CELLS)).all(dim=-1)  # of the reference; beyond it another column's reference tells
    low = torch.floor(at - 0.5)
    first = torch.arange(N, dtype=torch.int32, device=device).reshape(N, 1) * CELLS * CELLS
    reference = expected.reference.reshape(N * CELLS * CELLS, -1)
    levels = [look_up(level, cells) for level in (seen.rows, seen.raised, seen.lowered)]
    found = torch.zeros_like(levels[0], dtype=torch.bool)
    for step in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        i, j = ((low[..., axis] + step[axis]).clamp(0, CELLS - 1).to(torch.int32) for axis in (0, 1))
        held = look_up(reference, first + i * CELLS + j)
        for level in levels:
            found = found | (held == level)
    stands = (expected.velocity.square().sum(-1) == 0).unsqueeze(-1)  # what moves has moved in its block
    return torch.where(found | ~(inside & stands).unsqueeze(-1), 0.0, 1.0).sum(dim=(1, 2))
