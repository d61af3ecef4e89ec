"""What the live forecaster is told and tells: limits, levels, the status of a tick, and what it asks of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.plausible import PlausibleLimits
from genie.command import Command
from genie.forecaster import EgoPlan
from perception.types import SceneForecast, SensorFrame


class ForecastEngine(Protocol):
    """What is asked of deploy.pipeline.Pipeline here."""

    @property
    def bundle_id(self) -> str: ...
    @property
    def computed(self) -> int: ...
    def reset(self) -> None: ...
    def step(self, frame: SensorFrame, plan: EgoPlan = None) -> SceneForecast: ...
    def reanchor(
        self, forecast: SceneForecast, world_from_ego: NDArray[np.float64], stamp_us: int
    ) -> SceneForecast: ...


class Level(IntEnum):
    """The levels of genie_msgs/ScenePredictionStatus."""

    OK = 0
    DEGRADED = 1
    HOLD = 2
    FAULT = 3


@dataclass(frozen=True)
class LiveLimits:
    """When to doubt and when to stop. In microseconds where the name says so.

    max_input_age_us:      an older observation makes HOLD: the last forecast is carried on by odometry alone.
    hold_timeout_us:       after that long in HOLD comes FAULT: nothing is published.
    max_camera_age_us:     a watched camera that is silent for longer is lost.
    future_tolerance_us:   how far beyond now a stamp may lie.
    refill_us:             after a start or a flush, DEGRADED until the inferences span this much data.
    slow_inference_us:     an inference that took longer makes DEGRADED: observations are skipped.
    command_timeout_us:    a driving command is told to the model for so long.
    restart_confirmations: odometry stamps in a row that make a restart of the data believable.
    max_clock_jump_us:     a ROS clock that goes on by more than this at once, or back, has jumped.
    max_ego_jump_m, max_yaw_jump_rad: a step of the odometry beyond either is a jump, unless a car can move so in
        its time.
    restart_worker_after_us, worker_restarts: an inference thread that died is started anew after so long, so many
        times within a minute.
    plausible:             what a forecast must satisfy to be published.
    """

    max_input_age_us: int = 1_000_000
    hold_timeout_us: int = 1_000_000
    max_camera_age_us: int = 500_000
    future_tolerance_us: int = 200_000
    refill_us: int = 1_000_000
    slow_inference_us: int = 200_000
    command_timeout_us: int = 3_000_000
    restart_confirmations: int = 5
    max_clock_jump_us: int = 1_000_000
    max_ego_jump_m: float = 3.0
    max_yaw_jump_rad: float = 0.5
    restart_worker_after_us: int = 1_000_000
    worker_restarts: int = 3
    plausible: PlausibleLimits = field(default_factory=PlausibleLimits)


@dataclass(frozen=True)
class LiveStatus:
    """How far to trust the forecast of a tick; see genie_msgs/ScenePredictionStatus for the fields."""

    level: Level
    reasons: tuple[str, ...]
    stamp_us: int
    observation_us: int
    input_age_s: float
    inference_time_s: float
    is_new_inference: bool
    inference_id: int
    engine_id: str
    camera_mask: int
    command: Command | None
    columns: int
    published_count: int
    inference_count: int
    rejected_count: int
    skipped_count: int


@dataclass(frozen=True)
class Tick:
    """forecast: what to publish, or None. failure: what the engine raised, while it has failed."""

    forecast: SceneForecast | None
    status: LiveStatus
    failure: BaseException | None


def stuck(tick: Tick) -> bool:
    """Whether only a new process can help: inference failed, or is not answered although input comes. Missing input is
    no fault of the process: a parked car has none."""
    return tick.failure is not None or (tick.status.level is Level.FAULT and "inference_late" in tick.status.reasons)
