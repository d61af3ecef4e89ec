"""The graphs of a bundle as modules with named tensors in a row: what is exported, and what parity runs in PyTorch.

The dense form has one, the gated form a gate and a tick for each bucket. A graph takes the tensors of `inputs` in their
order and gives those of `outputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deploy.half import as_carried
from deploy.spec import (
    COMMAND,
    GATE,
    LINK,
    NEEDED,
    OUTPUTS,
    PLAN,
    PLAN_GIVEN,
    REFRESH,
    STATE_IN,
    STATE_OUT,
    TICK,
    tick_of,
)
from genie.command import Command
from genie.config import ModelConfig
from genie.gate import Selection
from genie.gate_input import GateInput
from genie.gated import gated_tick
from genie.gated_state import ColumnFacts, GatedState, Slots, empty_gated_state
from genie.inputs import model_inputs
from genie.model import EgoMotion, GenieDrive, Plan, TrackedOccupancy
from genie.observation import observe, start_observer
from genie.rows import WORDS
from genie.state import StreamState, empty_state
from perception.types import FREE, GRID, HORIZONS_S, Occupancy, SensorFrame

# In the order of GateInput, whose last is the refresh.
_GATE_READS = ("rows", "raised", "lowered", "object_id", "small", "objects", "ego_motion", "continues", "dt")


@dataclass(frozen=True)
class Graph:
    """name: in the bundle. inputs: an example of each, by name, in order. outputs: their names, in order."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


def dense_graphs(model: GenieDrive) -> list[Graph]:
    state = dense_state(model.config)
    return [Graph(TICK, DenseTick(model), {**example_inputs(), **_named(STATE_IN, state)}, _outs(state))]


def gated_graphs(model: GenieDrive) -> list[Graph]:
    """The gate, then a tick for each bucket, smallest first."""
    seen, state = example_inputs(), as_carried(model, gated_state(model.config))
    columns = {name: value for name, value in state.items() if name.startswith("columns.")}
    gate_reads = {name: seen[name] for name in _GATE_READS}
    gate = Gate(model)
    inputs = {**gate_reads, REFRESH: torch.zeros(1), **_named(STATE_IN, columns)}
    with torch.inference_mode():
        told = dict(zip(gate.outputs, gate(*inputs.values()), strict=True))
    links = {name: value for name, value in told.items() if name.startswith(LINK)}
    rest = {name: value for name, value in state.items() if name not in columns}
    ticks = [
        Graph(
            tick_of(bucket),
            GatedTick(model, bucket),
            {**seen, **links, **_named(STATE_IN, rest)},
            _outs(state),
        )
        for bucket in model.config.gate.buckets
    ]
    return [Graph(GATE, gate, inputs, gate.outputs), *ticks]


def graphs_of(model: GenieDrive, form: str) -> list[Graph]:
    return dense_graphs(model) if form == "dense" else gated_graphs(model)


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _outs(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    return (*OUTPUTS, *(STATE_OUT + name for name in state))


class DenseTick(nn.Module):
    """`GenieDrive.step`."""

    def __init__(self, model: GenieDrive) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        seen, ego, plan, state = _split(tensors)
        layers = self.model.config.layers
        before = StreamState(tuple(state[:layers]), tuple(state[layers : 2 * layers]), *state[2 * layers :])
        forecast, after = self.model.step(seen, ego, before, plan)
        return (forecast.rows, forecast.trajectory, forecast.confidence, *flatten(after).values())


class Gate(nn.Module):
    """`ChangeGate`: which columns, and what stands for each."""

    outputs = (
        NEEDED,
        "score",
        *(LINK + name for name in ("order", "source", "owner", "changed")),
        *(f"{LINK}columns.{name}" for name in ColumnFacts._fields),
    )

    def __init__(self, model: GenieDrive) -> None:
        super().__init__()
        self.gate = model.gate

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        levels, (object_id, small, *rest) = tensors[:3], tensors[3:]
        count = len(GateInput._fields) - 5
        rows, raised, lowered = (level.reshape(-1, WORDS) for level in levels)
        seen = GateInput(rows, raised, lowered, object_id.reshape(-1), small.reshape(-1), *rest[:count])
        chosen = self.gate(seen, ColumnFacts(*rest[count:]))
        link = (chosen.order, chosen.source, chosen.owner, chosen.changed)
        return (chosen.needed, chosen.score, *link, *chosen.columns)


class GatedTick(nn.Module):
    """`gated_tick` for one bucket."""

    def __init__(self, model: GenieDrive, bucket: int) -> None:
        super().__init__()
        self.model, self.bucket = model, bucket

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        seen, ego, plan, rest = _split(tensors)
        order, source, owner, changed, *rest = rest
        facts, rest = rest[: len(ColumnFacts._fields)], rest[len(ColumnFacts._fields) :]
        columns = ColumnFacts(*facts)
        nothing = torch.zeros(0)
        selection = Selection(order, nothing, source, columns, owner, changed, *([nothing] * 3))
        layers = self.model.config.layers
        keys, values = rest[:layers], rest[layers : 2 * layers]
        row, encoded, tokens, *memory = rest[2 * layers :]
        before = GatedState(tuple(keys), tuple(values), row, encoded, tokens, columns, _slots(memory))
        forecast, after = gated_tick(self.model, seen, ego, selection, self.bucket, before, plan)
        return (forecast.rows, forecast.trajectory, forecast.confidence, *flatten(after).values())


def _slots(tensors: list[Tensor]) -> Slots:
    tokens, stands_for, xy, moving, age, *cached = tensors
    half = len(cached) // 2
    return Slots(tokens, stands_for, xy, moving, age, tuple(cached[:half]), tuple(cached[half:]))


def _split(tensors: tuple[Tensor, ...]) -> tuple[TrackedOccupancy, EgoMotion, Plan, list[Tensor]]:
    count, ego = len(TrackedOccupancy._fields), len(EgoMotion._fields)
    plan, given, command, *rest = tensors[count + ego :]
    return (
        TrackedOccupancy(*tensors[:count]),
        EgoMotion(*tensors[count : count + ego]),
        Plan(plan, given, command),
        rest,
    )


def example_inputs() -> dict[str, Tensor]:
    """An empty scene before the first frame, and no plan."""
    empty = SensorFrame(0, np.eye(4), Occupancy(np.full(GRID.shape, FREE, np.uint8)))
    scene, _ = observe(empty, start_observer(keep_evidence=False))
    seen = {name: torch.tensor(array) for name, array in model_inputs(scene).items()}
    horizons = len(HORIZONS_S)
    return {**seen, PLAN: torch.zeros(horizons, 3), PLAN_GIVEN: torch.zeros(1), COMMAND: torch.zeros(len(Command))}


def dense_state(config: ModelConfig) -> dict[str, Tensor]:
    """Empty, by name."""
    return flatten(empty_state(config))


def gated_state(config: ModelConfig) -> dict[str, Tensor]:
    """Empty, by name."""
    return flatten(empty_gated_state(config))


def flatten(state: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of nested named tuples by name, in order: `keys_0`, `columns.place`."""
    out: dict[str, Tensor] = {}
    for name, value in zip(state._fields, state, strict=True):
        if isinstance(value, Tensor):
            out[prefix + name] = value
        elif hasattr(value, "_fields"):
            out |= flatten(value, f"{prefix}{name}.")
        else:
            out |= {f"{prefix}{name}_{i}": item for i, item in enumerate(value)}
    return out
