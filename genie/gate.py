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

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genie.columns import column_centers, compose, invert, transform, whole_grid
from genie.config import GateConfig
from genie.forecast import look_up
from genie.gate_input import GateInput, N, cells_of_columns
from genie.gated_state import ColumnFacts
from genie.grid import COLUMN_M, COLUMNS
from genie.observation import MEASURED
from genie.surprise import surprise
from perception.types import GRID

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
NOISE_RING_M = 10.0  # distance from the ego over which occupancy is perceived equally well
FEATURES = 7


class Selection(NamedTuple):
    """order: int64 [N], columns by rank. needed: int32 [1], how many of them must be computed; the others are free
    choice. source: int64 [N], the computed column that stands for each present one. columns: the facts of those, at
    their expected places. owner: int32 [N], the object in each column, 0 or 1 + row. changed: [N], 1 where the
    observation contradicts what was expected, or nothing was. score: [N]. features [N, F], prior [N]: what the score is
    of: a learned part of the features, added to the prior, which is the logarithm of the surprise."""

    order: Tensor
    needed: Tensor
    source: Tensor
    columns: ColumnFacts
    owner: Tensor
    changed: Tensor
    score: Tensor
    features: Tensor
    prior: Tensor


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
        above = self.config.surprise_above + noise_of_columns(self.config.noise_words, device)
        changed = unseen | comes | left | turned | (words >= above) | (small > 0.5)
        needed = changed | due
        prior = torch.log1p(words) + torch.log1p(4.0 * small)
        features = [torch.log1p(words), torch.log1p(small), torch.log1p(expected.age), expected.stale, unseen.float()]
        moving = (velocity.square().sum(-1) > 0).float(), (expected.velocity.square().sum(-1) > 0).float()
        told = torch.stack([*features, *moving], dim=-1)
        learned = self.score(told)[:, 0]
        # Of equal scores the oldest: what a bucket has to spare repairs what has waited longest.
        score = (prior + learned).clamp(-MOST, MOST) + OLDER * expected.age.clamp(max=OLD_S)
        score = torch.where(unseen, 0.0, score)  # there is nothing to compare with
        tie = torch.arange(N, dtype=torch.float32, device=device) * TIE
        rank = score + needed.float() * FIRST + must.float() * FIRST - tie
        order = torch.topk(rank, N, sorted=True).indices
        count = needed.float().sum().reshape(1).to(torch.int32)
        return Selection(order, count, source, expected, owner, changed.float(), score, told, prior)


def noise_of_columns(noise_words: tuple[float, ...], device: torch.device) -> Float[Tensor, " N"]:
    """GateConfig.noise_words of each column."""
    return torch.tensor(noise_words, dtype=torch.float32, device=device)[ring_of_columns(len(noise_words), device)]


def ring_of_columns(count: int, device: torch.device) -> Int[Tensor, " N"]:
    """Of `count` rings of NOISE_RING_M around the ego, the last without an end, the one that each column is in."""
    centers = column_centers(whole_grid(device=device))[0]
    return (centers.square().sum(-1).sqrt() / NOISE_RING_M).long().clamp(max=count - 1)


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
    was = transform(invert(seen.now_from_previous), torch.stack([centers, centers - velocity * seen.dt]))  # (2, N, 2)
    i, j = ((w - GRID.origin[0]) / COLUMN_M for w in was.unbind(-1))
    step = torch.arange(-1, 2, dtype=torch.float32, device=velocity.device)
    step_i, step_j = (s.reshape(1, 9, 1) for s in torch.meshgrid(step, step, indexing="ij"))
    i, j = ((torch.floor(w).unsqueeze(1) + s).flatten(0, 1) for w, s in ((i, step_i), (j, step_j)))  # (18, N)
    outside = (i < 0) | (i >= COLUMNS) | (j < 0) | (j >= COLUMNS)
    row = (i.clamp(0, COLUMNS - 1) * COLUMNS + j.clamp(0, COLUMNS - 1)).to(torch.int32)
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
