"""The gate along a stream, in PyTorch, ticked as on the car: for whoever learns from what it selects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

from genie.buckets import START, choose_bucket, refresh_due
from genie.gate import Selection
from genie.gated import gate_input, gated_tick
from genie.gated_state import GatedState, empty_gated_state
from genie.model import EgoMotion, GenieDrive, TrackedOccupancy
from genie.model_forecaster import plan_tensors, tick_tensors
from genie.observation import ObservedScene, observe, start_observer
from perception.types import SensorFrame


class GatedMoment(NamedTuple):
    """One frame and what the gate selects in it. state: before the tick."""

    occupancy: TrackedOccupancy
    ego: EgoMotion
    selection: Selection
    state: GatedState


def observed(frames: Iterable[SensorFrame]) -> Iterator[ObservedScene]:
    """Frames as the car observes them, without static evidence, which neither gate nor tokens read."""
    observer = start_observer(keep_evidence=False)
    for frame in frames:
        scene, observer = observe(frame, observer)
        yield scene


def gated_moments(model: GenieDrive, scenes: Iterable[ObservedScene]) -> Iterator[GatedMoment]:
    """Of a stream, from its beginning. Each is told before its tick is run: the next one's state is what it left."""
    gate = model.config.gate
    state, bucket = empty_gated_state(model.config), START
    for scene in scenes:
        occupancy, ego = tick_tensors(scene)
        dt_s = float(scene.dt[0])
        refresh = torch.tensor([float(refresh_due(bucket, dt_s, gate))])
        selection = model.gate(gate_input(occupancy, ego, refresh), state.columns)
        bucket = choose_bucket(int(selection.needed), bucket, dt_s, gate)
        yield GatedMoment(occupancy, ego, selection, state)
        _, state = gated_tick(model, occupancy, ego, selection, bucket.bucket, state, plan_tensors(None))
