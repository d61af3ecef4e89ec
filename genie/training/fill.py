"""Losses of what is invented: how likely it makes what comes, and how much of each class it hits.

An invented voxel is one of decoder.OPTIONS: ground or what stands goes on outwards, or a static class. The probability
of a class sums over the options that show it, so that what is decoded has a gradient, end to end.

Shapes: B batch, R invented columns of 16 cells and 16 heights, O options, S static classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genie.decoder import (
    FIRST_CLASS,
    GROUND_GOES_ON,
    OPTIONS,
    PRIOR_LOGIT,
    STANDING_GOES_ON,
    STATIC,
    GoesOn,
    block_of_cell,
)
from perception.types import FREE

# Showing a voxel of odds p gains intersection over union if p > IoU / (1 + IoU): 0.45 to 0.48 here, not a half.
FREE_WEIGHT = 0.7


def unlearned(device: torch.device) -> Float[Tensor, " O"]:
    """Logits of the ground that goes on, before anything is learned."""
    logits = torch.zeros(OPTIONS, device=device)
    logits[GROUND_GOES_ON] = PRIOR_LOGIT
    return logits


def fill_likelihood(
    logits: Float[Tensor, "B R 4 16 O"], shown: GoesOn, truth: Int[Tensor, "B R 16 16"]
) -> Float[Tensor, ""]:
    """Negative log likelihood (nats a voxel). What is not invented (all that moves, barriers, cones) or unknown (beyond
    FREE) does not count."""
    share = torch.softmax(logits, dim=-1)[:, :, block_of_cell(logits.device)]  # (B, R, 16 cells, 16, O)
    its_class = (truth - STATIC[0] + FIRST_CLASS).clamp(FIRST_CLASS, OPTIONS - 1).long()
    likely = share.gather(-1, its_class.unsqueeze(-1))[..., 0]
    for option, classes in ((GROUND_GOES_ON, shown.ground), (STANDING_GOES_ON, shown.standing)):
        likely = likely + share[..., option] * (classes == truth)
    weight = _counts(truth) * torch.where(truth == FREE, FREE_WEIGHT, 1.0)
    return -((likely + 1e-6).log() * weight).sum() / weight.sum().clamp(min=1e-6)


def fill_overlap(
    logits: Float[Tensor, "B R 4 16 O"], shown: GoesOn, truth: Int[Tensor, "B R 16 16"]
) -> Float[Tensor, ""]:
    """One minus the mean over static classes that are there of the softened intersection over union: what a forecast is
    scored by. Rare kinds of ground then count as much as road."""
    share = torch.softmax(logits, dim=-1)[:, :, block_of_cell(logits.device)]
    classes = share[..., FIRST_CLASS:]
    for option, each in ((GROUND_GOES_ON, shown.ground), (STANDING_GOES_ON, shown.standing)):
        classes = classes + share[..., option, None] * _one_hot(each)
    known = (truth <= FREE).unsqueeze(-1)
    classes, true = classes * known, _one_hot(truth) * known
    shared, both = (part.flatten(0, 3).sum(0) for part in (classes * true, classes + true - classes * true))
    there = (true.flatten(0, 3).sum(0) > 0)[:-1]  # the last is free
    overlap = shared[:-1] / both[:-1].clamp(min=1.0)
    return 1.0 - (overlap * there).sum() / there.sum().clamp(min=1)


def _counts(truth: Tensor) -> Tensor:
    return (truth >= STATIC[0]) & (truth <= FREE)


def _one_hot(classes: Int[Tensor, "B R 16 16"]) -> Float[Tensor, "B R 16 16 S"]:
    """Zeros for what is not static."""
    row = (classes - STATIC[0]).clamp(0, len(STATIC) - 1).long()
    return nn.functional.one_hot(row, len(STATIC)) * _counts(classes).unsqueeze(-1)
