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
from genie.gated_state import ColumnFacts, GatedState, N
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


class _Damaged(GatedForecaster):
    """Before every tick something happens to what the stream carries."""

    def __init__(self, model: GenieDrive, name: str, damage: Callable[[GatedState], GatedState]) -> None:
        self._damage = damage
        super().__init__(model, name)

    def observe(self, frame: SensorFrame) -> None:
        super().observe(frame)
        self._state = self._damage(self._state)


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
    return _Damaged(model, name, lambda state: _with_memory(state, torch.zeros_like))


def _shuffled_memory(model: GenieDrive, name: str) -> Forecaster:
    order = _shuffled(model.config.gate.slots)
    return _Damaged(model, name, lambda state: _with_memory(state, lambda tokens: tokens[order]))


def _zeroed_cache(model: GenieDrive, name: str) -> Forecaster:
    return _Damaged(model, name, lambda state: _with_cache(state, torch.zeros_like))


def _shuffled_cache(model: GenieDrive, name: str) -> Forecaster:
    """Each column has the tokens, keys and values of another."""
    order = _shuffled(N)
    return _Damaged(model, name, lambda state: _with_cache(state, lambda kept: kept[order]))


def _with_memory(state: GatedState, damage: Callable[[Tensor], Tensor]) -> GatedState:
    return state._replace(memory=state.memory._replace(tokens=damage(state.memory.tokens)))


def _with_cache(state: GatedState, damage: Callable[[Tensor], Tensor]) -> GatedState:
    """What is kept of columns that are not computed anew. Where they are and what was in them is not touched."""
    return state._replace(
        keys=tuple(damage(keys) for keys in state.keys),
        values=tuple(damage(values) for values in state.values),
        encoded=damage(state.encoded),
        tokens=damage(state.tokens),
    )


def _shuffled(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


# By name; each takes a model, which it may change, and the name of the forecaster.
SABOTAGES: dict[str, Callable[[GenieDrive, str], Forecaster]] = {
    "random-columns": _random_columns,
    "least-surprising": _least_surprising,
    "zeroed-memory": _zeroed_memory,
    "shuffled-memory": _shuffled_memory,
    "zeroed-cache": _zeroed_cache,
    "shuffled-cache": _shuffled_cache,
    "ego-stands": _EgoStands,
    "no-history": _NoHistory,
}
