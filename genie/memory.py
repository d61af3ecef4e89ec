"""Temporal memory fusion: tokens that are overwritten live on, merged into a fixed number of slots.

What is like a slot, near it and of its kind (moving or standing) is merged into it, weighted by how many tokens the
slot stands for, and the slot's logit grows by the logarithm of that count: merging equal tokens changes nothing. What
is like no slot takes the slot that matters least. Slots move with the ego.

Shapes: M slots, k overwritten tokens, q tokens at most that take a slot in one tick, d channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genie.attention import KeysValues, Layer
from genie.columns import transform
from genie.config import GateConfig
from genie.gated_state import Slots

APART_M = 8.0  # distance at which two tokens are as unlike as orthogonal ones
FAR_M = 60.0  # a slot beyond is read by nobody: it goes first
FORGET_S = 15.0  # a slot counts a third as much after this time without company
UNLIKE = 2.0  # more than two cosines can differ
TIE = 1e-5
MOST = 256.0  # tokens that a slot can stand for: it must not outweigh all that is seen


class Overwritten(NamedTuple):
    """tokens: [k, d]. xy: [k, 2] (m), where they are expected now. moving, valid: [k], 1 or 0."""

    tokens: Float[Tensor, "k d"]
    xy: Float[Tensor, "k 2"]
    moving: Float[Tensor, " k"]
    valid: Float[Tensor, " k"]


def advance_slots(slots: Slots, now_from_previous: Float[Tensor, 3], continues: Tensor, dt: Tensor) -> Slots:
    """To the present ego frame; emptied where the stream does not continue."""
    xy = transform(now_from_previous.unsqueeze(0), slots.xy)
    return slots._replace(xy=xy, stands_for=slots.stands_for * continues, age=slots.age + dt)


def fuse(slots: Slots, new: Overwritten, config: GateConfig) -> Slots:
    """Takes the overwritten tokens in: merged where they are like a slot, else as novel ones."""
    unlike = 1.0 - _cosine(new.tokens, slots.tokens) + _distance(new.xy, slots.xy) / APART_M**2
    unlike = unlike + UNLIKE * (new.moving.unsqueeze(1) - slots.moving).abs() + UNLIKE * (slots.stands_for < 0.5)
    # Of slots that are equally like, the first: else rounding would decide, differently in every runtime.
    nearest = (unlike + TIE * torch.arange(len(slots.stands_for), device=unlike.device)).min(dim=1)
    merges = (nearest.values < 1.0 - config.merge_above).to(unlike.dtype) * new.valid
    merged = _merge(slots, new, nearest.indices, merges)
    return _insert(merged, new, (1.0 - merges) * new.valid, config)


def push(slots: Slots, new: Overwritten, layers: Sequence[Layer]) -> Slots:
    """No fusion: a queue of the newest tokens, each for itself, with its keys and values. The plain twin of `fuse`."""
    keep = len(slots.stands_for) - len(new.valid)
    caches = [layer.remember(new.tokens) for layer in layers]

    def queue(arriving: Tensor, old: Tensor) -> Tensor:
        return torch.cat([arriving, old[:keep]])

    return Slots(
        queue(new.tokens, slots.tokens),
        queue(new.valid, slots.stands_for),
        queue(new.xy, slots.xy),
        queue(new.moving, slots.moving),
        queue(torch.zeros_like(new.valid), slots.age),
        tuple(queue(cache.keys, old) for cache, old in zip(caches, slots.keys, strict=True)),
        tuple(queue(cache.values, old) for cache, old in zip(caches, slots.values, strict=True)),
    )


def read(slots: Slots, layer: Layer, index: int) -> KeysValues:
    """Keys and values of layer `index`, [1, M, .]."""
    if slots.keys:
        return KeysValues(slots.keys[index].unsqueeze(0), slots.values[index].unsqueeze(0))
    return layer.remember(slots.tokens.unsqueeze(0))


def _cosine(a: Float[Tensor, "k d"], b: Float[Tensor, "M d"]) -> Float[Tensor, "k M"]:
    a, b = (x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt() for x in (a, b))
    return a @ b.T


def _distance(a: Float[Tensor, "k 2"], b: Float[Tensor, "M 2"]) -> Float[Tensor, "k M"]:
    """Squared."""
    return (a[:, None, 0] - b[:, 0]) ** 2 + (a[:, None, 1] - b[:, 1]) ** 2


def _merge(slots: Slots, new: Overwritten, into: Tensor, merges: Float[Tensor, " k"]) -> Slots:
    share = nn.functional.one_hot(into, len(slots.stands_for)).to(merges.dtype).T * merges  # (M, k)
    arrived = share.sum(dim=1)
    count = slots.stands_for + arrived
    old, total = slots.stands_for.unsqueeze(1), count.clamp(min=1.0).unsqueeze(1)
    tokens = torch.where(arrived.unsqueeze(1) > 0, (slots.tokens * old + share @ new.tokens) / total, slots.tokens)
    xy = torch.where(arrived.unsqueeze(1) > 0, (slots.xy * old + share @ new.xy) / total, slots.xy)
    age = torch.where(arrived > 0, 0.0, slots.age)
    return Slots(tokens, count.clamp(max=MOST), xy, slots.moving, age)


def _insert(slots: Slots, new: Overwritten, novel: Float[Tensor, " k"], config: GateConfig) -> Slots:
    """The first novel tokens (they come by rank) take the slots that matter least. novel: 1 or 0."""
    many = min(config.novel_per_tick, len(novel), len(slots.stands_for))
    ties = torch.arange(len(novel), dtype=novel.dtype, device=novel.device) * 1e-6
    best = torch.topk(novel - ties, many, sorted=True).indices
    inside = (slots.xy.abs().amax(dim=-1) < FAR_M).to(novel.dtype)
    worth = slots.stands_for * torch.exp(-slots.age / FORGET_S) * inside
    ties = torch.arange(len(worth), dtype=worth.dtype, device=worth.device) * 1e-6
    worst = torch.topk(-worth - ties, many, sorted=True).indices
    comes = novel[best] > 0.5

    def put(old: Tensor, arriving: Tensor) -> Tensor:
        take = comes if old.dim() == 1 else comes.unsqueeze(1)
        return old.index_put((worst,), torch.where(take, arriving, old[worst]))

    return Slots(
        put(slots.tokens, new.tokens[best]),
        put(slots.stands_for, new.valid[best]),
        put(slots.xy, new.xy[best]),
        put(slots.moving, new.moving[best]),
        put(slots.age, torch.zeros_like(ties[:many])),
    )
