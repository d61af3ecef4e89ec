"""Attention for the selected columns alone: gathered to a dense [k, d], never masked.

Selected columns are sorted by rank, so that what deeper layers and further heads compute are prefixes of them (token
retention, variable heads). A column that a layer does not compute keeps its cached keys, values and output.

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
    """keys, values: per layer, [N, .], with the selected columns' own in place. tokens: [k', d], outputs of the columns
    that the last layer kept, the first k' by rank."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    tokens: Float[Tensor, "k d"]


class Cached(NamedTuple):
    """keys, values: per layer, [N, .], of the columns that stand for the present ones. xy: [N, 2] (m). filled: [N]."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
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
    rows: Int[Tensor, " k"],
    cached: Cached,
    memory: Slots,
    config: GateConfig,
) -> Attended:
    """Runs the selected columns through the layers. `cached.xy` and `.filled` already say what the selected are."""
    heads = layers[0].attention.heads
    head_width = encoded.shape[-1] // heads
    place = places(_columns(cached.xy).unsqueeze(0), heads, head_width)
    query_place = Places(*(x[:, rows] for x in place))
    memory_place = places(_columns(memory.xy).unsqueeze(0), heads, head_width)
    bias = torch.where(cached.filled > 0.5, 0.0, FAR_BELOW).unsqueeze(0)
    memory_bias = torch.where(
        memory.stands_for < 0.5, FAR_BELOW, torch.log(memory.stands_for.clamp(min=1.0))
    ).unsqueeze(0)
    x = encoded.unsqueeze(0)
    keys, values = [], []
    kept = kept_rows(len(rows), len(layers), config)
    for index, layer in enumerate(layers):
        x = x[:, : kept[index]]
        normed = layer.norm_tokens(x)
        fresh = layer.attention.cache(normed)
        some = rows[: kept[index]]
        keys.append(cached.keys[index].index_put((some,), fresh.keys[0]))
        values.append(cached.values[index].index_put((some,), fresh.values[0]))
        blocks = (
            KeyBlock(KeysValues(keys[-1].unsqueeze(0), values[-1].unsqueeze(0)), place, bias),
            KeyBlock(read(memory, layer, index), memory_place, memory_bias),
        )
        where = Places(*(p[:, : kept[index]] for p in query_place))
        x = x + layer.attention.of_rows(normed, where, blocks, head_rows(kept[index], heads, config))
        x = x + layer.mlp(layer.norm_mlp(x))
    return Attended(tuple(keys), tuple(values), x[0])


def _columns(xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """Metres to column coordinates, (0, 0) at the centre of the first column."""
    return (xy - GRID.origin[0]) / COLUMN_M - 0.5
