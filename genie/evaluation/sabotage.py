"""Deliberate damage to a gated model, one part at a time: what a part is worth shows when it is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from genie.forecaster import Forecaster
from genie.gate import ChangeGate, Selection
from genie.gate_input import GateInput
from genie.gated_forecaster import GatedForecaster
from genie.gated_state import ColumnFacts, Slots
from genie.model import GenieDrive
from genie.model_forecaster import ModelForecaster
from perception.types import SensorFrame


class _Reordered(nn.Module):
    """The gate, but other columns are computed: as many as it asked for."""

    def __init__(self, gate: ChangeGate, reorder: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.gate, self._reorder = gate, reorder

    def forward(self, seen: GateInput, columns: ColumnFacts) -> Selection:
        selection: Selection = self.gate(seen, columns)
        return selection._replace(order=self._reorder(selection.order))


class _WithMemory(GatedForecaster):
    """Before every tick something happens to the fused memory."""

    def __init__(self, model: GenieDrive, name: str, damage: Callable[[Slots], Slots]) -> None:
        self._damage = damage
        super().__init__(model, name)

    def observe(self, frame: SensorFrame) -> None:
        super().observe(frame)
        self._state = self._state._replace(memory=self._damage(self._state.memory))


class _EgoStands(GatedForecaster):
    """Every frame is said to be seen from the same place."""

    def observe(self, frame: SensorFrame) -> None:
        super().observe(replace(frame, world_from_ego=np.eye(4)))


class _NoHistory(ModelForecaster):
    """Each frame is the first."""

    def observe(self, frame: SensorFrame) -> None:
        super().observe(frame)
        self._recent = type(self._recent)([self._recent[-1]], maxlen=1)


def _random_columns(model: GenieDrive, name: str) -> Forecaster:
    generator = torch.Generator().manual_seed(0)
    return _with_gate(model, name, lambda order: order[torch.randperm(len(order), generator=generator)])


def _least_surprising(model: GenieDrive, name: str) -> Forecaster:
    return _with_gate(model, name, lambda order: order.flip(0))


def _with_gate(model: GenieDrive, name: str, reorder: Callable[[Tensor], Tensor]) -> Forecaster:
    model.gate = _Reordered(model.gate, reorder)  # type: ignore[assignment]
    return GatedForecaster(model, name)


def _zeroed_memory(model: GenieDrive, name: str) -> Forecaster:
    return _WithMemory(model, name, lambda memory: memory._replace(tokens=torch.zeros_like(memory.tokens)))


def _shuffled_memory(model: GenieDrive, name: str) -> Forecaster:
    order = torch.randperm(model.config.gate.slots, generator=torch.Generator().manual_seed(0))
    return _WithMemory(model, name, lambda memory: memory._replace(tokens=memory.tokens[order]))


# By name; each takes a model, which it may change, and the name of the forecaster.
SABOTAGES: dict[str, Callable[[GenieDrive, str], Forecaster]] = {
    "random-columns": _random_columns,
    "least-surprising": _least_surprising,
    "zeroed-memory": _zeroed_memory,
    "shuffled-memory": _shuffled_memory,
    "ego-stands": _EgoStands,
    "no-history": _NoHistory,
}
