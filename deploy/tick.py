"""`GenieDrive.step` with named tensors in a row, as a graph has them: what is exported, and what parity runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deploy.spec import CONFIDENCE, PLAN, PLAN_GIVEN, ROWS, STATE_IN, STATE_OUT, TRAJECTORY
from genie.config import ModelConfig
from genie.evidence import FINE_SIDE, MAX_KEPT, NOTHING_KEPT
from genie.model import EgoMotion, GenieDrive, Plan, TrackedOccupancy
from genie.objects import MAX_OBJECTS
from genie.observation import MAX_OBJECT_CELLS, OBJECT_CHANNELS, ObservedScene
from genie.rows import WORDS
from genie.state import StreamState, empty_state
from perception.types import FREE, GRID, HORIZONS_S

OUTPUTS = (ROWS, TRAJECTORY, CONFIDENCE)


class Tick(nn.Module):
    """The tensors of `example_inputs` in their order in; OUTPUTS, then the state in the same order, out."""

    def __init__(self, model: GenieDrive) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count, ego = len(TrackedOccupancy._fields), len(EgoMotion._fields)
        plan, plan_given, *state = tensors[count + ego :]
        forecast, state_out = self.model.step(
            TrackedOccupancy(*tensors[:count]),
            EgoMotion(*tensors[count : count + ego]),
            unflatten_state(state, self.model.config.layers),
            Plan(plan, plan_given),
        )
        out = (forecast.rows, forecast.trajectory, forecast.confidence)
        return (*out, *flatten_state(state_out))


def example_inputs(config: ModelConfig) -> dict[str, Tensor]:
    """Every input of the graph by name, in order: an empty scene before the first frame."""
    horizons = len(HORIZONS_S)
    cells = GRID.shape[:2]
    scene = {
        "rows": _free((*cells, WORDS)),
        "object_id": torch.zeros(cells, dtype=torch.int32),
        "object_cells": torch.full((MAX_OBJECT_CELLS,), -1, dtype=torch.int32),
        "uncovered": torch.arange(cells[0] * cells[1], dtype=torch.int32).reshape(cells),
        "objects": torch.zeros(MAX_OBJECTS, OBJECT_CHANNELS),
        "evidence_row": torch.full((FINE_SIDE, FINE_SIDE), NOTHING_KEPT, dtype=torch.int32),
        "evidence": _free((MAX_KEPT, WORDS)),
        "fine_from_ego": torch.zeros(3),
        "ego_motion": torch.zeros(3),
        "ego_velocity": torch.zeros(3),
        "continues": torch.zeros(1),
    }
    fields = tuple("rows" if name == "semantics" else name for name in ObservedScene._fields)
    if tuple(scene) != fields:
        raise AssertionError(f"inputs {tuple(scene)} do not follow {fields}")
    plan = {PLAN: torch.zeros(horizons, 3), PLAN_GIVEN: torch.zeros(1)}
    state = zip(state_names(config), flatten_state(empty_state(config)), strict=True)
    return {**scene, **plan, **{STATE_IN + name: tensor for name, tensor in state}}


def _free(shape: tuple[int, ...]) -> Tensor:
    """Rows with nothing in them."""
    return torch.full(shape, FREE * 0x01010101, dtype=torch.int32)


def output_names(config: ModelConfig) -> tuple[str, ...]:
    return (*OUTPUTS, *(STATE_OUT + name for name in state_names(config)))


def state_names(config: ModelConfig) -> tuple[str, ...]:
    """In the order of `StreamState`."""
    layers = range(config.layers)
    return (*(f"keys_{i}" for i in layers), *(f"values_{i}" for i in layers), "now_from_past", "filled")


def flatten_state(state: StreamState) -> tuple[Tensor, ...]:
    return (*state.keys, *state.values, state.now_from_past, state.filled)


def unflatten_state(tensors: list[Tensor], layers: int) -> StreamState:
    now_from_past, filled = tensors[2 * layers :]
    return StreamState(tuple(tensors[:layers]), tuple(tensors[layers : 2 * layers]), now_from_past, filled)
