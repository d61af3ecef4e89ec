"""Attention for the selected columns alone: gathered to a dense [k, d], never masked.

Columns are sorted by rank, the selected first, so that what deeper layers and further heads compute are prefixes of
them (token retention, variable heads). A column that a layer does not compute keeps its cached keys, values and output;
of the cache, only the rows of such columns are read. Keys and values stay in that order: the next tick gathers anyhow.

Shapes: k selected columns, N = 2500 columns, M memory slots, d channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genie.attention import KeyBlock, KeysValues, Layer, Places, places
from genie.config import GateConfig
from genie.gated_state import Slots
from genie.grid import COLUMN_M
from genie.memory import read
from perception.types import GRID

FAR_BELOW = -1e4


class Attended(NamedTuple):
    """keys, values: per layer, [N, .], by rank, the selected columns' own first. tokens: [k', d], outputs of the
    columns that the last layer kept, the first k' by rank."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    tokens: Float[Tensor, "k d"]


class Cached(NamedTuple):
    """keys, values: per layer, [N, .], as the last tick left them. The present columns by rank: row [N], that of the
    column which stands for each; xy [N, 2] (m); filled [N]."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    row: Int[Tensor, " N"]
    xy: Float[Tensor, "N 2"]
    filled: Float[Tensor, " N"]


def kept_rows(k: int, layers: int, config: GateConfig) -> list[int]:
    """Rows that each layer computes; all where all columns are computed: then there is nothing to fall back to."""
    if k == config.buckets[-1]:
        return [k] * layers
    return [math.ceil(k * config.keep[min(layer, len(config.keep) - 1)]) for layer in range(layers)]


def head_rows(k: int, heads: int, config: GateConfig) -> list[int]:
    """Rows that each head reads for."""
    return [math.ceil(k * config.head_share[min(head, len(config.head_share) - 1)]) for head in range(heads)]


def attend_rows(
    layers: Sequence[Layer],
    encoded: Float[Tensor, "k d"],
    cached: Cached,
    memory: Slots,
    config: GateConfig,
) -> Attended:
    """Runs the selected columns, the first k by rank, through the layers. `cached.xy` and `.filled` already say what
    they are."""
    heads = layers[0].attention.heads
    head_width = encoded.shape[-1] // heads
    place = places(_columns(cached.xy).unsqueeze(0), heads, head_width, encoded.dtype)
    memory_place = places(_columns(memory.xy).unsqueeze(0), heads, head_width, encoded.dtype)
    bias = torch.where(cached.filled > 0.5, 0.0, FAR_BELOW).unsqueeze(0)
    memory_bias = torch.where(
        memory.stands_for < 0.5, FAR_BELOW, torch.log(memory.stands_for.clamp(min=1.0))
    ).unsqueeze(0)
    x = encoded.unsqueeze(0)
    keys, values = [], []
    kept = kept_rows(len(encoded), len(layers), config)
    for index, layer in enumerate(layers):
        x = x[:, : kept[index]]
        normed = layer.norm_tokens(x)
        fresh = layer.attention.cache(normed)
        others = cached.row[kept[index] :]
        keys.append(_with_rest(fresh.keys[0], cached.keys[index], others))
        values.append(_with_rest(fresh.values[0], cached.values[index], others))
        blocks = (
            KeyBlock(KeysValues(keys[-1].unsqueeze(0), values[-1].unsqueeze(0)), place, bias),
            KeyBlock(read(memory, layer, index), memory_place, memory_bias),
        )
        where = Places(*(p[:, : kept[index]] for p in place))
        x = x + layer.attention.of_rows(normed, where, blocks, head_rows(kept[index], heads, config))
        x = x + layer.mlp(layer.norm_mlp(x))
    return Attended(tuple(keys), tuple(values), x[0])


def _with_rest(fresh: Tensor, cached: Tensor, others: Tensor) -> Tensor:
    return torch.cat([fresh, cached[others]]) if len(others) else fresh


def _columns(xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """Metres to column coordinates, (0, 0) at the centre of the first column."""
    return (xy - GRID.origin[0]) / COLUMN_M - 0.5
