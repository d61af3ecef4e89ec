"""`GenieDrive.step` with named tensors in a row, as a graph has them: what is exported, and what parity runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deploy.spec import CONFIDENCE, PLAN, PLAN_GIVEN, SEMANTICS, STATE_IN, STATE_OUT, TRAJECTORY
from genie.config import ModelConfig
from genie.evidence import FINE_SIDE, MAX_KEPT, NOTHING_KEPT
from genie.model import EgoMotion, GenieDrive, Plan, TrackedOccupancy
from genie.objects import MAX_OBJECTS
from genie.observation import OBJECT_CHANNELS, ObservedScene
from genie.state import StreamState, empty_state
from perception.types import FREE, GRID, HORIZONS_S

OUTPUTS = (SEMANTICS, TRAJECTORY, CONFIDENCE)


class Tick(nn.Module):
    """The tensors of `example_inputs` in their order in; OUTPUTS, then the state in the same order, out."""

    def __init__(self, model: GenieDrive) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        observed = ObservedScene(*tensors[: len(ObservedScene._fields)])  # type: ignore[arg-type]
        plan, plan_given, *state = tensors[len(ObservedScene._fields) :]
        # uint8 only at the graph's ends: TensorRT computes nothing in it.
        observed = observed._replace(
            semantics=observed.semantics.to(torch.int32),  # type: ignore[attr-defined]
            evidence=observed.evidence.to(torch.int32),  # type: ignore[attr-defined]
        )
        forecast, state_out = self.model.step(
            TrackedOccupancy(*observed[:7]),  # type: ignore[arg-type]
            EgoMotion(*observed[7:]),  # type: ignore[arg-type]
            unflatten_state(state, self.model.config.layers),
            Plan(plan, plan_given),
        )
        out = (forecast.semantics.to(torch.uint8), forecast.trajectory, forecast.confidence)
        return (*out, *flatten_state(state_out))


def example_inputs(config: ModelConfig) -> dict[str, Tensor]:
    """Every input of the graph by name, in order: an empty scene before the first frame."""
    horizons = len(HORIZONS_S)
    cells = GRID.shape[:2]
    scene = {
        "semantics": torch.full(GRID.shape, FREE, dtype=torch.uint8),
        "object_id": torch.zeros(cells, dtype=torch.int32),
        "uncovered": torch.arange(cells[0] * cells[1], dtype=torch.int32).reshape(cells),
        "objects": torch.zeros(MAX_OBJECTS, OBJECT_CHANNELS),
        "evidence_row": torch.full((FINE_SIDE, FINE_SIDE), NOTHING_KEPT, dtype=torch.int32),
        "evidence": torch.full((MAX_KEPT, GRID.shape[2]), FREE, dtype=torch.uint8),
        "fine_from_ego": torch.zeros(3),
        "ego_motion": torch.zeros(3),
        "ego_velocity": torch.zeros(3),
        "continues": torch.zeros(1),
    }
    if tuple(scene) != ObservedScene._fields:
        raise AssertionError(f"inputs {tuple(scene)} do not follow {ObservedScene._fields}")
    plan = {PLAN: torch.zeros(horizons, 3), PLAN_GIVEN: torch.zeros(1)}
    state = zip(state_names(config), flatten_state(empty_state(config)), strict=True)
    return {**scene, **plan, **{STATE_IN + name: tensor for name, tensor in state}}


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
