"""All that a gated stream carries from tick to tick. Modules keep nothing: a hidden state would not export.

Shapes: L layers, N = 2500 columns in the order of the present grid, d channels, M memory slots.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genie.attention import key_width
from genie.columns import column_centers, whole_grid
from genie.config import ModelConfig
from genie.grid import CELLS, COLUMNS
from genie.rows import WORDS
from perception.types import FREE

N = COLUMNS * COLUMNS


class ColumnFacts(NamedTuple):
    """What each column was computed from, and where that is now. The gate alone reads it.

    place:     [N, 3], x, y (m), yaw (rad) of the column as it was computed, in the present ego frame: exact, never
        rounded to a cell, so that nothing drifts.
    velocity:  [N, 2] (m/s), of the object in it, as the model forecast it then; zero where nothing moves.
    age:       [N], seconds since it was computed.
    filled:    [N], 1 where something was.
    stale:     [N], 1 if something near it has changed since.
    occupied:  [N], 1 if an object was in it.
    held:      [N], 1 if an object that may move was in that column of the grid at the last tick.
    reference: int32 [N, 16, 4], the packed rows that it was computed from.
    small:     int32 [N, 16], the small thing in each of its cells (genie.observation.small_things), or 0.
    moves:     [N, 16], 1 for cells of an object that moves.
    """

    place: Float[Tensor, "N 3"]
    velocity: Float[Tensor, "N 2"]
    age: Float[Tensor, " N"]
    filled: Float[Tensor, " N"]
    stale: Float[Tensor, " N"]
    occupied: Float[Tensor, " N"]
    held: Float[Tensor, " N"]
    reference: Int[Tensor, "N 16 4"]
    small: Int[Tensor, "N 16"]
    moves: Float[Tensor, "N 16"]


class Slots(NamedTuple):
    """What was overwritten: tokens of the tokeniser, fused.

    tokens: [M, d], means. stands_for: [M], how many tokens; 0: empty. xy: [M, 2] (m), present ego frame. moving: [M], 1
    for what moves: it is never fused with what stands. age: [M], seconds since something was added.
    keys, values: per layer, of the tokens, where these are kept as they were; of means they are computed as they are
        read.
    """

    tokens: Float[Tensor, "M d"]
    stands_for: Float[Tensor, " M"]
    xy: Float[Tensor, "M 2"]
    moving: Float[Tensor, " M"]
    age: Float[Tensor, " M"]
    keys: tuple[Float[Tensor, "M k"], ...] = ()
    values: tuple[Float[Tensor, "M d"], ...] = ()


class GatedState(NamedTuple):
    """keys, values: per layer [N, k] and [N, d], without position, as each column was last computed, in the order of
    the last selection. row: int64 [N], where those of each column are in that order. encoded: [N, d], the tokeniser's
    output then; tokens: [N, d], the last layer's."""

    keys: tuple[Float[Tensor, "N k"], ...]
    values: tuple[Float[Tensor, "N d"], ...]
    row: Int[Tensor, " N"]
    encoded: Float[Tensor, "N d"]
    tokens: Float[Tensor, "N d"]
    columns: ColumnFacts
    memory: Slots


def empty_gated_state(config: ModelConfig, device: torch.device | None = None) -> GatedState:
    """Before the first frame, or after a flush: nothing is filled, so everything is computed anew."""
    width = config.width

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, device=device)

    centers = column_centers(whole_grid(device=device))[0]
    return GatedState(
        keys=tuple(zeros(N, key_width(width, config.heads)) for _ in range(config.layers)),
        values=tuple(zeros(N, width) for _ in range(config.layers)),
        row=torch.arange(N, device=device),
        encoded=zeros(N, width),
        tokens=zeros(N, width),
        columns=ColumnFacts(
            place=torch.cat([centers, zeros(N, 1)], dim=-1),
            velocity=zeros(N, 2),
            age=zeros(N),
            filled=zeros(N),
            stale=zeros(N),
            occupied=zeros(N),
            held=zeros(N),
            reference=torch.full((N, CELLS * CELLS, WORDS), FREE * 0x01010101, dtype=torch.int32, device=device),
            small=torch.zeros((N, CELLS * CELLS), dtype=torch.int32, device=device),
            moves=zeros(N, CELLS * CELLS),
        ),
        memory=empty_slots(config, device),
    )


def empty_slots(config: ModelConfig, device: torch.device | None = None) -> Slots:
    """Room for `gate.slots` fused tokens; for "frames" memory, for every token of the history; for "none", one."""
    kind = config.gate.memory
    count = {"slots": config.gate.slots, "frames": config.history * N, "none": 1}[kind]

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, device=device)

    cached = config.layers if kind == "frames" else 0
    return Slots(
        zeros(count, config.width),
        zeros(count),
        zeros(count, 2),
        zeros(count),
        zeros(count),
        tuple(zeros(count, key_width(config.width, config.heads)) for _ in range(cached)),
        tuple(zeros(count, config.width) for _ in range(cached)),
    )
