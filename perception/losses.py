"""Losses of perception, as the field has them: cross-entropy where something was seen, Lovasz for the intersection over
union itself, and depth from projected lidar for the cameras.

B frames, K = 18 classes, M voxels that count.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from perception.config import TrainConfig
from perception.model import Perceived
from perception.prepare import UNKNOWN_DEPTH
from perception.types import FREE, NUM_CLASSES


class Truth(NamedTuple):
    """semantics: int64 [B, Z, X, Y]. counts: bool, same shape. depth: int64 [B, N, h, w], UNKNOWN_DEPTH where no lidar
    tells it; None: without cameras."""

    semantics: Int[Tensor, "B Z X Y"]
    counts: Bool[Tensor, "B Z X Y"]
    depth: Int[Tensor, "B N h w"] | None


class Losses(NamedTuple):
    """total: what is minimised. classes, depth: nats; lovasz: 0..1."""

    total: Tensor
    classes: Tensor
    lovasz: Tensor
    depth: Tensor


def compute_losses(
    perceived: Perceived,
    truth: Truth,
    present: Float[Tensor, "B N"] | None,
    weights: Float[Tensor, " K"],
    config: TrainConfig,
    generator: torch.Generator,
) -> Losses:
    """Of one batch.

    Args:
        present: cameras whose depth counts. weights: of classes. generator: draws the voxels.
    """
    frames = perceived.logits.float().flatten(2)  # (B, K, Z*X*Y)
    truths = truth.semantics.flatten(1)
    seen = _draw(frames, truths, truth.counts.flatten(1), config.voxels, generator)
    classes = functional.cross_entropy(torch.cat(seen.logits), torch.cat(seen.target), weights)
    few = config.lovasz_voxels
    chances = torch.softmax(torch.cat([part[:few] for part in seen.logits]), dim=1)
    lovasz = lovasz_softmax(chances, torch.cat([part[:few] for part in seen.target]))
    if config.unseen_weight:
        rest = _draw(frames, truths, ~truth.counts.flatten(1), config.unseen_voxels, generator)
        if sum(map(len, rest.target)):
            unseen = functional.cross_entropy(torch.cat(rest.logits), torch.cat(rest.target), weights)
            classes = classes + config.unseen_weight * unseen
    depth = classes.new_zeros(())
    if perceived.depth is not None and truth.depth is not None and present is not None:
        depth = depth_loss(perceived.depth.float(), truth.depth, present)
    total = classes + config.lovasz_weight * lovasz + config.depth_weight * depth
    return Losses(total, classes, lovasz, depth)


class _Drawn(NamedTuple):
    """By frame: logits [M, K] and classes [M]."""

    logits: list[Tensor]
    target: list[Tensor]


def _draw(frames: Tensor, truths: Tensor, wanted: Tensor, most: int, generator: torch.Generator) -> _Drawn:
    """Up to `most` voxels of each frame at random: logits [B, K, V], classes and what is wanted [B, V]."""
    out = _Drawn([], [])
    for frame, classes, mask in zip(frames, truths, wanted, strict=True):
        voxels = mask.nonzero()[:, 0]
        drawn = voxels[torch.randperm(len(voxels), generator=generator)[:most].to(voxels.device)]
        out.logits.append(frame.index_select(1, drawn).T)
        out.target.append(classes[drawn])
    return out


def lovasz_softmax(chances: Float[Tensor, "M K"], target: Int[Tensor, " M"]) -> Tensor:
    """One minus the intersection over union, made smooth, averaged over the classes that are there (Berman, Triki &
    Blaschko 2018, their reference implementation's definition)."""
    losses = []
    for kind in range(chances.shape[1]):
        true = (target == kind).float()
        if not true.any():
            continue
        errors, order = torch.sort((true - chances[:, kind]).abs(), descending=True)
        losses.append(torch.dot(errors, lovasz_gradient(true[order])))
    return torch.stack(losses).mean() if losses else chances.sum() * 0.0


def lovasz_gradient(true: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
    """Of the Jaccard loss, by errors in falling order."""
    total = true.sum()
    intersection = total - true.cumsum(0)
    union = total + (1.0 - true).cumsum(0)
    jaccard = 1.0 - intersection / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def depth_loss(
    logits: Float[Tensor, "B N D h w"], truth: Int[Tensor, "B N h w"], present: Float[Tensor, "B N"]
) -> Tensor:
    """Cross-entropy of the bins of depth where the lidar tells them."""
    known = (truth != UNKNOWN_DEPTH) & (present > 0)[:, :, None, None]
    if not known.any():
        return logits.sum() * 0.0
    return functional.cross_entropy(logits.permute(0, 1, 3, 4, 2)[known], truth[known])


def class_weights(counts: Float[Tensor, " K"], rarity: float) -> Float[Tensor, " K"]:
    """Share of each class to the power of -rarity, one on average over the voxels; a class that never was has none.

    Args:
        counts: voxels of each class in the training frames.
    """
    share = counts / counts.sum().clamp(min=1)
    weights = torch.where(counts > 0, share.clamp(min=1e-6).pow(-rarity), 0.0)
    return weights / (weights * share).sum().clamp(min=1e-12)


__all__ = ["FREE", "NUM_CLASSES", "Losses", "Truth", "class_weights", "compute_losses", "depth_loss", "lovasz_softmax"]
