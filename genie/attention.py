"""Dense attention over the present tokens and an ego-warped history of tokens.

Shapes: B batch, N present tokens, P past frames, d channels, h heads.

Keys are cached without their position: the position (rotary, in columns of the present ego frame) is applied after the
warp, so a warped key sits where its column is now. The warp is a nearest-cell gather; a key is never interpolated.

Each head reads within a reach of its own: its logits fall off with the squared distance. What is learned on crops then
holds on the whole grid, where a softmax without reach would spread over four times as many tokens.

Tokens may be FP16 (deploy/half.py). Places are then computed in FP32 all the same, and so is the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

ROTARY_PERIODS = (6.0, 96.0)  # columns: the shortest and the longest wavelength
ROTARY_CHANNELS = 12  # of each head: turning all of them says no more, and every cached key is turned every tick
REACH = (4.0, 16.0)  # columns: standard deviations of the first and the last head
PLACE_CHANNELS = 4  # of each head: with a place, keys are as wide as values, which fast kernels want
MIDDLE = 24.5  # columns: positions are counted from there, so that their squares stay small
FAR_BELOW = -1e4  # added to the logits of keys that must not be read; finite in FP16
FARTHEST = 250.0  # columns from the middle: the square of what is farther is not finite in FP16, and nobody reads it


class KeysValues(NamedTuple):
    """Of one layer, without position: keys [B, M, `key_width`], values [B, M, d]."""

    keys: Float[Tensor, "B M k"]
    values: Float[Tensor, "B M d"]


def key_width(width: int, heads: int) -> int:
    """Channels of the keys of all heads: each head leaves room for its place."""
    return width - heads * PLACE_CHANNELS


class Places(NamedTuple):
    """Where tokens are. cos, sin: rotary phases, [B, N, h, pairs], the same for each head: spelt out once, they are
    multiplied with every layer's keys without broadcasting. xy: [B, N, 2], columns, for the reach."""

    cos: Tensor
    sin: Tensor
    xy: Tensor


def places(position: Float[Tensor, "B N 2"], heads: int, head_width: int, dtype: torch.dtype = torch.float32) -> Places:
    """Of positions in columns: half of the rotary pairs turn with x, half with y. dtype: of the phases, that of the
    tokens; positions stay FP32."""
    pairs = min(ROTARY_CHANNELS, head_width - PLACE_CHANNELS) // 4
    low, high = ROTARY_PERIODS
    exponent = torch.arange(pairs, device=position.device, dtype=torch.float32) / max(pairs - 1, 1)
    frequency = (2 * torch.pi / low) * (low / high) ** exponent
    phase = (position.unsqueeze(-1) * frequency).flatten(2)  # (B, N, 2 * pairs)
    cos, sin = (x.to(dtype).unsqueeze(2).expand(-1, -1, heads, -1) for x in (phase.cos(), phase.sin()))
    return Places(cos, sin, position)


def join(first: Places, second: Places) -> Places:
    """One after the other."""
    return Places(*(torch.cat([a, b], dim=1) for a, b in zip(first, second, strict=True)))


def rotate(x: Float[Tensor, "B N h w"], phase: Places, heads: slice, more: Tensor) -> Float[Tensor, "B N h w+m"]:
    """Turns the first channels; the others carry content alone, and `more` [B, N, h, m] follow them: joined here, they
    cost no copy of all the others. heads: those that `x` has."""
    cos, sin = phase.cos[:, :, heads], phase.sin[:, :, heads]
    pairs = cos.shape[-1]
    first, second, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    return torch.cat([first * cos - second * sin, first * sin + second * cos, rest, more], dim=-1)


class KeyBlock(NamedTuple):
    """Cached keys and values, where they are, and what is added to the logits of each: [B, M]."""

    read: KeysValues
    place: Places
    bias: Tensor


class Attention(nn.Module):
    """Multi-head attention from `queries` to cached keys and values."""

    reach: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        near, far = REACH
        reach = near * (far / near) ** (torch.arange(heads) / max(heads - 1, 1))
        self.register_buffer("reach", reach.reshape(1, heads, 1, 1), persistent=False)
        self.query = nn.Linear(width, key_width(width, heads))
        self.key = nn.Linear(width, key_width(width, heads))
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def cache(self, tokens: Float[Tensor, "B N d"]) -> KeysValues:
        """Keys and values of tokens, without position, as a later tick will read them."""
        return KeysValues(self.key(tokens), self.value(tokens))

    def forward(
        self,
        queries: Float[Tensor, "B Q d"],
        query_place: Places,
        read: KeysValues,
        key_place: Places,
        readable: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B Q d"]:
        bias = torch.zeros_like(key_place.xy[..., 0])
        if readable is not None:
            bias = torch.where(readable, 0.0, FAR_BELOW).to(bias.dtype)
        q, k = self._asked(queries, query_place, slice(None)), self._keys(read.keys, key_place, bias, slice(None))
        out = nn.functional.scaled_dot_product_attention(q, k, self._split(read.values), scale=self._scale)
        return self.out(out.transpose(1, 2).flatten(2))

    def of_rows(
        self,
        queries: Float[Tensor, "B Q d"],
        query_place: Places,
        blocks: Sequence[KeyBlock],
        first: Sequence[int],
    ) -> Float[Tensor, "B Q d"]:
        """`forward` over several blocks of keys, which are never joined, for queries that are sorted by rank.

        Args:
            first: how many of the queries each head reads for: the first ones; not rising from head to head. What a
                head does not read for is not computed.
        """
        if all(rows == queries.shape[1] for rows in first):
            read = self._read(queries, query_place, blocks, slice(None))
            return self.out(read.transpose(1, 2).flatten(2))
        out = self.out.bias.expand(*queries.shape[:2], -1)
        width = queries.shape[-1] // self.heads
        start = 0
        while start < self.heads:
            rows = first[start]
            stop = start + sum(f == rows for f in first[start:])
            place = Places(*(x[:, :rows] for x in query_place))
            read = self._read(queries[:, :rows], place, blocks, slice(start, stop))
            added = read.transpose(1, 2).flatten(2) @ self.out.weight[:, start * width : stop * width].T
            out = torch.cat([out[:, :rows] + added, out[:, rows:]], dim=1) if rows < out.shape[1] else out + added
            start = stop
        return out

    def _read(
        self, queries: Tensor, query_place: Places, blocks: Sequence[KeyBlock], heads: slice
    ) -> Float[Tensor, "B h Q w"]:
        q = self._asked(queries, query_place, heads) * self._scale
        keys = [self._keys(b.read.keys, b.place, b.bias, heads) for b in blocks]
        logits = torch.cat([q @ k.transpose(2, 3) for k in keys], dim=-1)
        shares = torch.softmax(logits.float(), dim=-1).to(q.dtype)
        parts = shares.split([k.shape[2] for k in keys], dim=-1)
        read = [part @ self._split(b.read.values)[:, heads] for part, b in zip(parts, blocks, strict=True)]
        total = read[0]
        for more in read[1:]:
            total = total + more
        return total

    @property
    def _scale(self) -> float:
        return float((self.query.out_features // self.heads) ** -0.5)

    def _asked(self, queries: Tensor, place: Places, heads: slice) -> Float[Tensor, "B h Q w"]:
        """Queries of some heads, with their place channels. The products of three with those of the keys subtract
        distance^2 / (2 reach^2) from the logits, but for a constant of each query, which a softmax does not see; the
        fourth lets the keys' bias in. Neither a matrix of distances nor one of masks is ever made."""
        width = self.query.out_features // self.heads
        first, last, _ = heads.indices(self.heads)
        if (first, last) == (0, self.heads):
            asked = self.query(queries)
        else:
            some = slice(first * width, last * width)
            asked = nn.functional.linear(queries, self.query.weight[some], self.query.bias[some])
        asked = asked.unflatten(2, (-1, width))
        at = (place.xy - MIDDLE).unsqueeze(2)
        one = torch.ones_like(at[..., :1])
        towards = torch.cat([at, one], dim=-1) / self.reach[:, heads].transpose(1, 2) ** 2
        towards = torch.cat([towards, one.expand_as(towards[..., :1])], dim=-1) / self._scale
        more = towards.to(asked.dtype).expand(*asked.shape[:3], -1)
        return rotate(asked, place, heads, more).transpose(1, 2)

    def _keys(self, keys: Tensor, place: Places, bias: Tensor, heads: slice) -> Float[Tensor, "B h M w"]:
        k = keys.unflatten(2, (self.heads, -1))[:, :, heads]
        at = (place.xy - MIDDLE).clamp(-FARTHEST, FARTHEST)
        to = at.expand(len(bias), -1, -1).unsqueeze(2)  # one place for all of a batch
        channels = torch.cat([to, -0.5 * (to * to).sum(-1, keepdim=True), bias[:, :, None, None]], dim=-1)
        return rotate(k, place, heads, channels.to(k.dtype).expand(*k.shape[:3], -1)).transpose(1, 2)

    def _split(self, x: Float[Tensor, "B N d"]) -> Float[Tensor, "B h N w"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Pre-norm attention over present and past tokens, then a per-token MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width)
        self.norm_history = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.past_key = nn.Linear(width, key_width(width, heads))
        self.past_value = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def remember(self, tokens: Float[Tensor, "B N d"]) -> KeysValues:
        """What later ticks read of this frame. From the tokeniser's output, so that a state depends on exactly
        P frames and a stream can be entered anywhere."""
        x = self.norm_history(tokens)
        return KeysValues(self.past_key(x), self.past_value(x))

    def forward(
        self,
        tokens: Float[Tensor, "B N d"],
        place: Places,
        past: KeysValues,
        past_place: Places,
        past_readable: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B N d"]:
        x = self.norm_tokens(tokens)
        present = self.attention.cache(x)
        read = KeysValues(torch.cat([present.keys, past.keys], dim=1), torch.cat([present.values, past.values], dim=1))
        everything = torch.ones_like(present.keys[..., 0], dtype=torch.bool)
        readable = torch.cat([everything, past_readable], dim=1)
        tokens = tokens + self.attention(x, place, read, join(place, past_place), readable)
        return tokens + self.mlp(self.norm_mlp(tokens))
