"""Dense attention over the present tokens and an ego-warped history of tokens.

Shapes: B batch, N present tokens, P past frames, d channels, h heads.

Keys are cached without their position: the position (rotary, in columns of the present ego frame) is applied after the
warp, so a warped key sits where its column is now. The warp is a nearest-cell gather; a key is never interpolated.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

ROTARY_PERIODS = (6.0, 200.0)  # columns: the shortest and the longest wavelength
FAR_BELOW = -1e4  # added to the logits of keys that must not be read; finite in FP16


class KeysValues(NamedTuple):
    """Of one layer: [B, P * N, d] each, without position."""

    keys: Float[Tensor, "B M d"]
    values: Float[Tensor, "B M d"]


class Rotary(NamedTuple):
    """Cosines and sines of token positions, [B, N, head_width / 2] each."""

    cos: Tensor
    sin: Tensor


def rotary(position: Float[Tensor, "B N 2"], head_width: int) -> Rotary:
    """Rotary phases: half of the pairs turn with x, half with y (position in columns)."""
    pairs = head_width // 4
    low, high = ROTARY_PERIODS
    exponent = torch.arange(pairs, device=position.device, dtype=torch.float32) / max(pairs - 1, 1)
    frequency = (2 * torch.pi / low) * (low / high) ** exponent
    phase = (position.unsqueeze(-1) * frequency).flatten(2)  # (B, N, 2 * pairs)
    return Rotary(phase.cos(), phase.sin())


def rotate(x: Float[Tensor, "B h N w"], phase: Rotary) -> Float[Tensor, "B h N w"]:
    first, second = x.chunk(2, dim=-1)
    cos, sin = phase.cos.unsqueeze(1), phase.sin.unsqueeze(1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Attention(nn.Module):
    """Multi-head attention from `queries` to `source` tokens and, if given, cached keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def cache(self, tokens: Float[Tensor, "B N d"]) -> KeysValues:
        """Keys and values of tokens, without position, as a later tick will read them."""
        return KeysValues(self.key(tokens), self.value(tokens))

    def forward(
        self,
        queries: Float[Tensor, "B Q d"],
        query_phase: Rotary,
        read: KeysValues,
        key_phase: Rotary,
        readable: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B Q d"]:
        q = rotate(self._split(self.query(queries)), query_phase)
        k = rotate(self._split(read.keys), key_phase)
        mask = None
        if readable is not None:
            mask = torch.where(readable, 0.0, FAR_BELOW).to(q.dtype)[:, None, None, :]
        out = nn.functional.scaled_dot_product_attention(q, k, self._split(read.values), attn_mask=mask)
        return self.out(out.transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B N d"]) -> Float[Tensor, "B h N w"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Pre-norm attention over present and past tokens, then a per-token MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width)
        self.norm_history = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.past_key = nn.Linear(width, width)
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
        phase: Rotary,
        past: KeysValues,
        past_phase: Rotary,
        past_readable: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B N d"]:
        x = self.norm_tokens(tokens)
        present = self.attention.cache(x)
        read = KeysValues(torch.cat([present.keys, past.keys], dim=1), torch.cat([present.values, past.values], dim=1))
        key_phase = Rotary(torch.cat([phase.cos, past_phase.cos], dim=1), torch.cat([phase.sin, past_phase.sin], dim=1))
        everything = torch.ones_like(present.keys[..., 0], dtype=torch.bool)
        readable = torch.cat([everything, past_readable], dim=1)
        tokens = tokens + self.attention(x, phase, read, key_phase, readable)
        return tokens + self.mlp(self.norm_mlp(tokens))
