"""From images into the grid: each voxel knows beforehand which pixel of which camera shows it, and how far away.

A rig's `LiftTable` is computed once (numpy); lifting is then gathers and sums, which export to any runtime: no
scatter, no custom operator. Each feature cell has a distribution of depth (Philion & Fidler, "Lift, Splat, Shoot",
2020), held as the chance that its ray goes on beyond the border of each bin. A voxel is lit with the chance that the
ray ends within it (the difference between its near and its far border), and learns that it is seen through from what
goes on behind it.

B frames, N cameras, C channels, D bins of depth, h x w features of an image, V = I*J*K lifted voxels, S = 2 sights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calib.transforms import Array
from perception.lift_table import SIGHTS, LiftTable

EVIDENCE = 3  # channels beside the features: ends here, goes on, is in sight


class Lifted(NamedTuple):
    """Of each voxel. lit: E = C + EVIDENCE channels, summed over its sights. shown: what its sights show, at whatever
    depth, in the mean; 0 where there is none. It is the voxel's own where something else (a lidar) knows that the ray
    ends there."""

    lit: Float[Tensor, "B E V"]
    shown: Float[Tensor, "B C V"]


class LiftIndex(NamedTuple):
    """A LiftTable as tensors."""

    cell: Int[Tensor, "S V"]
    near: Int[Tensor, "S V"]
    far: Int[Tensor, "S V"]
    paint: Int[Tensor, " W"] | None = None

    @classmethod
    def of(cls, table: LiftTable, device: torch.device | str = "cpu") -> LiftIndex:
        cell, near, far = (torch.from_numpy(part) for part in table[:3])
        return cls(cell, near, far, None if table.paint is None else torch.from_numpy(table.paint)).to(device)

    def to(self, device: torch.device | str) -> LiftIndex:
        paint = None if self.paint is None else self.paint.to(device)
        return LiftIndex(self.cell.to(device), self.near.to(device), self.far.to(device), paint)


def lift(
    features: Float[Tensor, "B N C h w"],
    depth_logits: Float[Tensor, "B N D h w"],
    present: Float[Tensor, "B N"],
    index: LiftIndex,
) -> Lifted:
    """
    Args:
        present: 1 for a camera that delivered, 0 for one that did not: what it shows counts nothing.
    """
    kind = features.dtype  # chances are told in float32, features as they come
    cells = present.to(kind)[:, :, None, None, None] * torch.ones_like(features[:, :, :1])  # (B, N, 1, h, w)
    shown = torch.cat([features * cells, cells], dim=2)
    rows = _and_nothing(shown.permute(0, 1, 3, 4, 2).flatten(1, 3))  # (B, N*h*w + 1, C + 1)
    beyond = goes_on(depth_logits).permute(0, 1, 3, 4, 2) * present[:, :, None, None, None]
    chances = _and_nothing(beyond.flatten(1).unsqueeze(-1))  # (B, N*h*w*(D+1) + 1, 1)
    total = shows = None
    for sight in range(index.cell.shape[0]):
        seen = torch.index_select(rows, 1, index.cell[sight])
        near, far = (torch.index_select(chances, 1, part[sight]) for part in (index.near, index.far))
        ends, behind = (near - far).to(kind), far.to(kind)
        lit = torch.cat([seen[..., :-1] * ends, ends, behind, seen[..., -1:]], dim=-1)
        total = lit if total is None else total + lit
        shows = seen if shows is None else shows + seen
    assert total is not None and shows is not None
    mean = shows[..., :-1] / shows[..., -1:].clamp(min=1.0)
    return Lifted(total.transpose(1, 2), mean.transpose(1, 2))


def goes_on(depth_logits: Float[Tensor, "B N D h w"]) -> Float[Tensor, "B N D1 h w"]:
    """The chance that a ray passes each of the D + 1 borders: 1 at the first, 0 at the last."""
    chance = torch.softmax(depth_logits.float(), dim=2)
    bins = chance.shape[2]
    # A product with a triangle in place of a running sum, which TensorRT before version 10 does not have.
    later = torch.ones(bins + 1, bins, dtype=chance.dtype, device=chance.device).triu()
    return torch.matmul(later, chance.flatten(3)).unflatten(3, chance.shape[3:])


def _and_nothing(rows: Float[Tensor, "B R C"]) -> Float[Tensor, "B R1 C"]:
    """A row of zeros at the end, for what no camera shows."""
    return torch.cat([rows, torch.zeros_like(rows[:, :1])], dim=1)


def lift_plain(
    features: Array, depth_logits: Array, present: Array, table: LiftTable, voxels: Sequence[int]
) -> Mapping[int, tuple[Array, Array]]:
    """The twin of `lift` for one frame, voxel by voxel; voxel -> lit [E], shown [C].

    Args:
        features: [N, C, h, w]. depth_logits: [N, D, h, w]. present: [N].
    """
    cameras, channels, high, wide = features.shape
    bins = depth_logits.shape[1]
    lifted = {}
    for voxel in voxels:
        out, shown, sights = np.zeros(channels + EVIDENCE), np.zeros(channels), 0.0
        for sight in range(SIGHTS):
            cell = int(table.cell[sight, voxel])
            if cell == cameras * high * wide:
                continue
            camera, rest = divmod(cell, high * wide)
            row, column = divmod(rest, wide)
            near, far = (int(part[sight, voxel]) - cell * (bins + 1) for part in (table.near, table.far))
            logits = depth_logits[camera, :, row, column]
            chance = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            ends, behind = chance[near:far].sum(), chance[far:].sum()
            evidence = [ends, behind, 1.0]
            out += present[camera] * np.concatenate([features[camera, :, row, column] * ends, evidence])
            shown += present[camera] * features[camera, :, row, column]
            sights += present[camera]
        lifted[voxel] = out, shown / max(sights, 1.0)
    return lifted
