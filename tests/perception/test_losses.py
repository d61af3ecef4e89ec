"""Losses against values computed by hand."""

from __future__ import annotations

import pytest
import torch

from perception.config import TrainConfig
from perception.losses import Truth, class_weights, compute_losses, depth_loss, lovasz_softmax
from perception.model import Perceived
from perception.prepare import UNKNOWN_DEPTH
from perception.types import FREE, NUM_CLASSES


def test_lovasz_of_hard_answers_is_one_minus_the_intersection_over_union() -> None:
    """On corners of the cube the extension is the loss itself."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (60,), generator=generator)
    answer = torch.where(torch.rand(60, generator=generator) < 0.3, (truth + 1) % 3, truth)
    chances = torch.nn.functional.one_hot(answer, 3).float()
    iou = []
    for kind in range(3):
        both = ((truth == kind) & (answer == kind)).sum()
        iou.append(both / ((truth == kind) | (answer == kind)).sum())
    assert lovasz_softmax(chances, truth).item() == pytest.approx(1 - torch.stack(iou).mean().item(), abs=1e-6)


def test_lovasz_of_soft_answers_by_hand() -> None:
    """Two voxels of class 0 and one of class 1, with chances (0.8, 0.4, 0.3) of class 0."""
    chances = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    # Class 0: errors 0.6, 0.3 (of the voxel of class 1), 0.2; Jaccard losses 1/2, 2/3, 1.
    zero = 0.6 * 1 / 2 + 0.3 * (2 / 3 - 1 / 2) + 0.2 * (1 - 2 / 3)
    # Class 1: errors 0.6, 0.3 (its own), 0.2; Jaccard losses 1/2, 1, 1.
    one = 0.6 * 1 / 2 + 0.3 * (1 - 1 / 2)
    assert lovasz_softmax(chances, torch.tensor([0, 0, 1])).item() == pytest.approx((zero + one) / 2, abs=1e-6)


def test_only_what_was_seen_counts() -> None:
    """Logits where nothing was seen have no gradient."""
    torch.manual_seed(0)
    logits = torch.randn(1, NUM_CLASSES, 4, 6, 5, requires_grad=True)
    semantics = torch.full((1, 4, 6, 5), FREE)
    counts = torch.zeros(1, 4, 6, 5, dtype=torch.bool)
    counts[:, :2] = True
    losses = compute_losses(
        Perceived(logits, None), Truth(semantics, counts, None), None, torch.ones(NUM_CLASSES),
        TrainConfig(unseen_weight=0.0), torch.Generator(),
    )  # fmt: skip
    losses.total.backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, 2:] == 0).all() and (logits.grad[:, :, :2] != 0).all()
    assert losses.depth == 0
    little = compute_losses(
        Perceived(logits, None), Truth(semantics, counts, None), None, torch.ones(NUM_CLASSES),
        TrainConfig(unseen_weight=0.1), torch.Generator(),
    )  # fmt: skip
    logits.grad = None
    little.total.backward()
    assert 0 < logits.grad[:, :, 2:].abs().mean() < 0.5 * logits.grad[:, :, :2].abs().mean()


def test_depth_counts_where_lidar_tells_it_and_the_camera_is_there() -> None:
    logits = torch.zeros(1, 2, 4, 2, 3, requires_grad=True)
    truth = torch.full((1, 2, 2, 3), UNKNOWN_DEPTH)
    truth[0, 0, 0, 0] = truth[0, 1, 1, 1] = 2
    depth_loss(logits, truth, torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 2, 0, 0] < 0 and (logits.grad[0, 1] == 0).all()
    assert (logits.grad != 0).sum() == 4
    assert depth_loss(logits, torch.full_like(truth, UNKNOWN_DEPTH), torch.ones(1, 2)).item() == 0


def test_rare_classes_weigh_more_and_voxels_one_on_average() -> None:
    counts = torch.tensor([10.0, 1000.0, 0.0, 100000.0])
    weights = class_weights(counts, 0.5)
    assert weights[0] > weights[1] > weights[3] > 0 and weights[2] == 0
    assert ((weights * counts).sum() / counts.sum()).item() == pytest.approx(1.0)
    assert weights[0] / weights[1] == pytest.approx(10.0)
