"""Hand-made worlds and a loop that drives the gate alone: what the tests of the gated tick share.

A world is a list of boxes; a view is what an ego somewhere in it observes. `GateLoop` runs the gate, the buckets and
the facts as genie.gated_forecaster does, without the network: what is selected does not depend on tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calib.transforms import se3_from_xyz_yaw
from genie.buckets import START, choose_bucket, refresh_due
from genie.config import GateConfig, load_config
from genie.gate import ChangeGate, Selection
from genie.gated import _computed, gate_input, gated_tick
from genie.gated_state import ColumnFacts, GatedState, empty_gated_state
from genie.model import EgoMotion, Forecast, GenieDrive, TrackedOccupancy
from genie.model_forecaster import plan_tensors, tick_tensors
from genie.motion import measured_displacement
from genie.observation import ObservedScene, observe, start_observer
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, Occupancy, SensorFrame

CAR, WALKER, MANMADE, BUSH = (CLASS_NAMES.index(n) for n in ("car", "pedestrian", "manmade", "vegetation"))
COLUMNS, N = 50, 2500
DT_S = 0.1


class Box(NamedTuple):
    """center, half: x, y (m) in the world. low, high: voxels."""

    kind: int
    center: tuple[float, float]
    half: tuple[float, float]
    low: int = 2
    high: int = 6


class View(NamedTuple):
    """ego: x, y (m), yaw (rad) in the world."""

    boxes: Sequence[Box]
    ego: tuple[float, float, float] = (0.0, 0.0, 0.0)


ROAD = Box(DRIVEABLE, (0.0, 0.0), (1e3, 6.0), 2, 3)
WALL = Box(MANMADE, (0.0, 12.6), (1e3, 0.6), 2, 10)
FAR_WALL = Box(MANMADE, (0.0, -14.2), (1e3, 1.0), 2, 8)
STREET = (ROAD, WALL, FAR_WALL)


def car(x: float, y: float = -2.0) -> Box:
    return Box(CAR, (x, y), (2.3, 0.95))


def house(x: float) -> Box:
    """Something that breaks the uniformity along the street: 6 m long, beside the road."""
    return Box(MANMADE, (x, 9.0), (3.0, 2.0), 2, 12)


def semantics_of(view: View) -> NDArray[np.uint8]:
    """uint8 [200, 200, 16]: later boxes over earlier ones."""
    axis = (np.arange(200) + 0.5) * 0.4 - 40.0
    x, y = np.meshgrid(axis, axis, indexing="ij")
    left, forward, yaw = view.ego[1], view.ego[0], view.ego[2]
    world_x, world_y = np.cos(yaw) * x - np.sin(yaw) * y + forward, np.sin(yaw) * x + np.cos(yaw) * y + left
    semantics = np.full((200, 200, 16), FREE, np.uint8)
    for box in view.boxes:
        inside = np.abs(world_x - box.center[0]) < box.half[0]
        inside &= np.abs(world_y - box.center[1]) < box.half[1]
        semantics[inside, box.low : box.high] = box.kind
    return semantics


def frames_of(views: Iterable[View | NDArray[np.uint8]], dt_s: float = DT_S) -> Iterator[SensorFrame]:
    """Arrays are views from a standing ego."""
    for n, view in enumerate(views):
        ego = view.ego if isinstance(view, View) else (0.0, 0.0, 0.0)
        semantics = semantics_of(view) if isinstance(view, View) else view
        pose = se3_from_xyz_yaw(np.array([ego[0], ego[1], 0.0]), ego[2])
        yield SensorFrame(1 + round(1e6 * dt_s) * n, pose, Occupancy(semantics))


def observed(views: Iterable[View | NDArray[np.uint8]], dt_s: float = DT_S) -> Iterator[ObservedScene]:
    state = start_observer(keep_evidence=False)
    for frame in frames_of(views, dt_s):
        scene, state = observe(frame, state)
        yield scene


def small_model(*overrides: str) -> GenieDrive:
    """Width 16, one layer; every weight random, also where training starts from zero, but those of the gate."""
    torch.manual_seed(0)
    model = GenieDrive(load_config("tiny", ["model.width=16", "model.layers=1", *overrides]).model).eval()
    for name, parameter in model.named_parameters():
        if not parameter.any() and not name.startswith("gate."):
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def columns_of(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The columns in which any cell (or voxel) of a mask [200, 200, ...] is set."""
    cells = mask.reshape(200, 200, -1).any(-1)
    return np.flatnonzero(cells.reshape(COLUMNS, 4, COLUMNS, 4).any(axis=(1, 3)))


class Ticked(NamedTuple):
    """rows: the columns that were computed, by rank. due: how many of them only because a refresh came."""

    selection: Selection
    needed: int
    bucket: int
    rows: NDArray[np.int64]
    due: int


class GateLoop:
    """The gate over a stream.

    Args:
        spare: whether the room that is left in a bucket is used, as on the car. Without, exactly what is needed is
            computed: then nothing is caught by luck.
    """

    def __init__(self, config: GateConfig | None = None, *, spare: bool = True, gate: ChangeGate | None = None) -> None:
        self.config = config or GateConfig()
        torch.manual_seed(0)
        self.gate = gate or ChangeGate(self.config)
        self.spare = spare
        self.bucket = START
        self.columns = empty_gated_state(load_config("tiny", ["model.width=16", "model.layers=1"]).model).columns

    @torch.inference_mode()
    def tick(self, scene: ObservedScene) -> Ticked:
        occupancy, ego = tick_tensors(scene)
        dt_s = float(scene.dt[0])
        refresh = torch.tensor([float(self.refresh(dt_s))])
        selection = self.gate(gate_input(occupancy, ego, refresh), self.columns)
        needed = int(selection.needed)
        self.bucket = choose_bucket(needed, self.bucket, dt_s, self.config)
        rows = selection.order[: self.bucket.bucket if self.spare else needed]
        self.columns = self.facts(selection, occupancy, rows)
        due = needed - int(selection.changed.sum())
        return Ticked(selection, needed, self.bucket.bucket, rows.numpy().copy(), due)

    def refresh(self, dt_s: float) -> bool:
        return refresh_due(self.bucket, dt_s, self.config)

    def facts(self, selection: Selection, occupancy: TrackedOccupancy, rows: Tensor) -> ColumnFacts:
        displacement = measured_displacement(occupancy.objects.unsqueeze(0))[0]
        nothing = torch.zeros(0)
        forecast = Forecast(nothing, nothing, displacement, nothing, nothing)
        filled = selection.columns.filled.index_put((rows,), torch.ones(len(rows)))
        return _computed(selection, occupancy, forecast, rows, filled)

    def run(self, scenes: Iterable[ObservedScene]) -> list[Ticked]:
        return [self.tick(scene) for scene in scenes]


class Moment(NamedTuple):
    """A tick that is about to run: what it sees, what the gate has told, and the state before."""

    occupancy: TrackedOccupancy
    ego: EgoMotion
    selection: Selection
    state: GatedState


@torch.inference_mode()
def moment(model: GenieDrive, scene: ObservedScene, state: GatedState) -> Moment:
    occupancy, ego = tick_tensors(scene)
    selection = model.gate(gate_input(occupancy, ego, torch.zeros(1)), state.columns)
    return Moment(occupancy, ego, selection, state)


@torch.inference_mode()
def tick(model: GenieDrive, at: Moment, k: int) -> tuple[Forecast, GatedState]:
    return gated_tick(model, at.occupancy, at.ego, at.selection, k, at.state, plan_tensors(None))


def run_ticks(model: GenieDrive, scenes: Iterable[ObservedScene], k: int | None = None) -> tuple[Forecast, GatedState]:
    """The newest forecast and state. k: of all ticks but the first, which computes everything; None: everything."""
    everything = model.config.gate.buckets[-1]
    state, told = empty_gated_state(model.config), None
    for n, scene in enumerate(scenes):
        told, state = tick(model, moment(model, scene, state), everything if n == 0 or k is None else k)
    assert told is not None
    return told, state
