"""Losses of one batch, and the measured baseline of each beside it.

Shapes: B batch, H horizons, K objects.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from genie.attention import KeysValues
from genie.columns import Window, take_rows, warp_columns, whole_grid
from genie.config import TrainConfig
from genie.decoder import goes_on
from genie.grid import COLUMNS, HEIGHT
from genie.model import GenieDrive
from genie.motion import measured_displacement
from genie.observation import HALF_LENGTH, HALF_WIDTH, HEADING, KIND, SCALARS
from genie.ring import ring_cells
from genie.training.batches import Batch, MotionBatch
from genie.training.fill import fill_likelihood, fill_overlap, unlearned
from genie.training.stream_frames import FrameBatch

SHARPNESS = 6.0  # of the softened overlap, a footprint
CORRECTION_COST = 0.01  # of overlap, a metre


class Losses(NamedTuple):
    """total: what is minimised; the others, for people: metres (motion, trajectory) and nats (fill)."""

    total: Tensor
    motion: Tensor
    motion_measured: Tensor
    fill: Tensor
    fill_copied: Tensor
    trajectory: Tensor


def compute_losses(model: GenieDrive, batch: Batch, config: TrainConfig) -> Losses:
    """Forward on crops: the same modules as `GenieDrive.step`, without the final gather, which has no gradient."""
    side = config.crop_columns
    window = Window(batch.first[:, 0], side)
    frames = [
        model.tokenizer(batch.semantics[:, p].int(), batch.object_id[:, p], batch.objects[:, p])
        for p in range(batch.semantics.shape[1])
    ]
    past, readable = _past(model, batch, frames[1:], window)
    tokens = model.attend(frames[0], past, readable)
    objects = batch.objects[:, 0]
    motion = model.motion(objects, batch.ego_velocity, tokens, window).displacement
    more = head_losses(model, batch.more, config)
    moved = _of_motion(motion, objects, batch.displacement, batch.known)
    fill, copied = _fill(model, batch, tokens, side)
    ego = model.trajectory(batch.ego_velocity, batch.ego_acceleration, batch.command, tokens)
    trajectory = _where_known(ego, batch.trajectory)
    own = config.motion_weight * moved.loss + config.fill_weight * fill + config.trajectory_weight * trajectory
    total = own + more.total
    return Losses(total, moved.error, moved.measured, fill, copied, trajectory)


def head_losses(model: GenieDrive, batch: MotionBatch, config: TrainConfig) -> Losses:
    """Of the motion heads without surroundings; nothing is filled."""
    motion = model.motion(batch.objects, batch.ego_velocity).displacement
    ego = model.trajectory(batch.ego_velocity, batch.ego_acceleration, batch.command)
    trajectory = _where_known(ego, batch.trajectory)
    moved = _of_motion(motion, batch.objects, batch.displacement, batch.known)
    nothing = trajectory.new_zeros(())
    total = config.motion_weight * moved.loss + config.trajectory_weight * trajectory
    return Losses(total, moved.error, moved.measured, nothing, nothing, trajectory)


def frame_losses(model: GenieDrive, batch: FrameBatch, config: TrainConfig) -> Losses:
    """Of what is invented and moved, from tokens as they come on the car; the ego's way is not told anew."""
    objects, window = batch.objects, whole_grid(len(batch.objects), batch.objects.device)
    motion = model.motion(objects, batch.ego_velocity, batch.tokens, window).displacement
    moved = _of_motion(motion, objects, batch.displacement, batch.known)
    shown = goes_on(batch.position, COLUMNS, batch.standing, batch.ground)
    logits = model.invention(batch.tokens, COLUMNS, batch.position)
    fill = fill_likelihood(logits, shown, batch.truth)
    copied = fill_likelihood(unlearned(logits.device).expand_as(logits), shown, batch.truth)
    fill_loss = fill + config.overlap_weight * fill_overlap(logits, shown, batch.truth)
    total = config.motion_weight * moved.loss + config.fill_weight * fill_loss
    return Losses(total, moved.error, moved.measured, fill, copied, total.new_zeros(()))


def _past(model: GenieDrive, batch: Batch, frames: list[Tensor], window: Window) -> tuple[list[KeysValues], Tensor]:
    warped = [
        warp_columns(batch.past_from_now[:, p], window, Window(batch.first[:, p + 1], window.side))
        for p in range(len(frames))
    ]
    past = []
    for layer in model.stack:
        caches = [layer.remember(tokens) for tokens in frames]
        keys = [take_rows(cache.keys, w.rows) for cache, w in zip(caches, warped, strict=True)]
        values = [take_rows(cache.values, w.rows) for cache, w in zip(caches, warped, strict=True)]
        past.append(KeysValues(torch.cat(keys, dim=1), torch.cat(values, dim=1)))
    return past, torch.cat([w.inside for w in warped], dim=1)


def motion_error(displacement: Tensor, objects: Tensor, truth: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (m) by which a far end of each object ends up wrong [B, H, K], and the weight of each."""
    difference = displacement - truth
    half_length = objects[..., HALF_LENGTH].unsqueeze(1)
    wrong = torch.cat([difference[..., :2], (half_length * difference[..., 2]).unsqueeze(-1)], dim=-1)
    error = (wrong.square().sum(-1) + 1e-6).sqrt()
    size = objects[..., SCALARS.stop - 1].exp().sqrt()  # square root of the cells covered
    return error, known * size.unsqueeze(1)


class _Moved(NamedTuple):
    """loss: what is minimised. error, and measured beside it: mean distances (m)."""

    loss: Tensor
    error: Tensor
    measured: Tensor


def _of_motion(displacement: Tensor, objects: Tensor, truth: Tensor, known: Tensor) -> _Moved:
    error, weight = motion_error(displacement, objects, truth, known)
    measured, _ = motion_error(measured_displacement(objects), objects, truth, known)
    loss = _motion_loss(displacement, objects, truth, known)
    return _Moved(loss, _mean(error, weight), _mean(measured, weight))


def _motion_loss(displacement: Tensor, objects: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """One minus the soft overlap, and a little for every metre of correction, so that it takes evidence to correct.

    Rare classes count more, as they do in a mean over classes; so do large objects.
    """
    kind = objects[..., KIND]
    share = kind.sum(dim=(0, 1)).clamp(min=1) / kind.sum().clamp(min=1)
    rarity = (kind @ share.rsqrt()).clamp(max=10.0)
    size = (0.25 * objects[..., SCALARS.stop - 1]).exp()  # fourth root of the cells covered
    weight = known * (rarity * size).unsqueeze(1)
    correction = (displacement - measured_displacement(objects))[..., :2].square().sum(-1).add(1e-6).sqrt()
    return _mean(1 - overlap(displacement, objects, truth) + CORRECTION_COST * correction, weight)


def overlap(displacement: Tensor, objects: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of an object's footprint and where it should be, softened: [B, H, K], near 1 if exact,
    towards 0 far off.

    The forecast is scored by intersection over union: half a length off or ten lengths off are both a miss. A
    regression loss would move every car a little to spare the worst few, and lose those that were right.
    """
    cos, sin = (objects[..., HEADING.start + i].unsqueeze(1) for i in range(2))
    length = (2 * objects[..., HALF_LENGTH]).clamp(min=0.4).unsqueeze(1)
    width = (2 * objects[..., HALF_WIDTH]).clamp(min=0.4).unsqueeze(1)
    dx, dy, turn = (displacement - truth).unbind(-1)
    along = (cos * dx + sin * dy).abs() / length
    across = ((cos * dy - sin * dx).abs() + 0.25 * length * turn.abs()) / width
    shared: Tensor = _softened(1.0 - along) * _softened(1.0 - across)
    return shared / (2.0 - shared).clamp(min=0.5)


def _softened(share: Tensor) -> Tensor:
    """Nothing is shared beyond a length, and yet there is a way back."""
    return nn.functional.softplus(share, beta=SHARPNESS)


def _fill(model: GenieDrive, batch: Batch, tokens: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Of invented columns, learned and with the ground going on alone."""
    cells = torch.from_numpy(ring_cells(side)).to(tokens.device)
    standing, ground = (part[:, cells].int() for part in (batch.standing, batch.ground))
    shown = goes_on(batch.invent, side, standing, ground)
    truth = batch.invent_truth.int().unflatten(-1, (-1, HEIGHT))
    logits = model.invention(tokens, side, batch.invent)
    copied = unlearned(logits.device).expand_as(logits)
    return fill_likelihood(logits, shown, truth), fill_likelihood(copied, shown, truth)


def _where_known(predicted: Tensor, truth: Tensor) -> Tensor:
    known = ~truth.isnan()
    difference = torch.where(known, predicted - torch.nan_to_num(truth), 0.0)
    scale = torch.tensor([1.0, 1.0, 10.0], device=truth.device)
    return _huber((difference * scale).abs(), 0.5).sum() / known.sum().clamp(min=1)


def _huber(error: Tensor, delta: float) -> Tensor:
    return torch.where(error < delta, 0.5 * error.square() / delta, error - 0.5 * delta)


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum() / weight.sum().clamp(min=1e-6)
