"""From messages as they come to a forecast at a steady rate. Knows nothing of ROS; the node converts and publishes.

    offer_odometry, offer_occupancy   judge the stamp, find the pose, hand the newest frame to the inference thread
    tick                              a new forecast if there is one, else the last one moved to the newest ego pose

All methods are called from one thread; only the engine's `step` and `reset` run in another. Between them the engine's
`reanchor` must be safe to call while `step` runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.poses import PoseHistory
from deploy.stamps import Clock, StampGate, Verdict
from deploy.worker import LatestOnlyWorker
from perception.types import Occupancy, SceneForecast, SensorFrame


class ForecastEngine(Protocol):
    """What is asked of deploy.pipeline.Pipeline here."""

    @property
    def bundle_id(self) -> str: ...
    def reset(self) -> None: ...
    def step(self, frame: SensorFrame) -> SceneForecast: ...
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
    """When to doubt and when to stop. All in microseconds, but the count.

    max_input_age_us:      an older observation makes HOLD: the last forecast is carried on by odometry alone.
    hold_timeout_us:       after that long in HOLD comes FAULT: nothing is published.
    future_tolerance_us:   how far beyond now a stamp may lie.
    refill_us:             after a start or a restart, DEGRADED until the inferences span this much data.
    restart_confirmations: odometry stamps in a row that make a restart of the data believable.
    """

    max_input_age_us: int = 1_000_000
    hold_timeout_us: int = 1_000_000
    future_tolerance_us: int = 200_000
    refill_us: int = 1_000_000
    restart_confirmations: int = 5


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
    published_count: int
    inference_count: int
    rejected_count: int
    skipped_count: int


@dataclass(frozen=True)
class Tick:
    """forecast: what to publish, or None. failure: what the engine raised, if it has failed."""

    forecast: SceneForecast | None
    status: LiveStatus
    failure: BaseException | None


def stuck(tick: Tick) -> bool:
    """Whether only a new process can help: inference failed, or is not answered although input comes. Missing input is
    no fault of the process: a parked car has none."""
    return tick.failure is not None or (tick.status.level is Level.FAULT and "inference_late" in tick.status.reasons)


@dataclass(frozen=True)
class _Task:
    frame: SensorFrame
    epoch: int


@dataclass(frozen=True)
class _Result:
    forecast: SceneForecast
    epoch: int
    seconds: float


class LiveForecaster:
    """Holds the newest observation, the newest forecast and the recent odometry; one per activation of the node."""

    def __init__(
        self,
        engine: ForecastEngine,
        clock: Clock,
        limits: LiveLimits | None = None,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._clock, self._monotonic_s = engine, clock, monotonic_s
        self._limits = limits = limits or LiveLimits()
        self._odometry_gate = StampGate(
            clock, future_tolerance_us=limits.future_tolerance_us, confirmations=limits.restart_confirmations
        )
        self._occupancy_gate = StampGate(clock, future_tolerance_us=limits.future_tolerance_us, confirmations=None)
        self._poses = PoseHistory()
        self._epoch = 0  # counts the stretches of data; results of an earlier one are dropped
        self._engine_epoch: int | None = None
        self._published = self._inferences = self._rejected = self._skipped = 0
        self._failure: BaseException | None = None
        self._forget()
        self._worker: LatestOnlyWorker[_Task, _Result] = LatestOnlyWorker(self._infer)

    def _forget(self) -> None:
        """All that belongs to one stretch of data."""
        self._poses.clear()
        self._occupancy_gate.forget()
        self._pending: tuple[int, Occupancy] | None = None
        self._newest_occupancy_us: int | None = None
        self._first_us: int | None = None
        self._latest: _Result | None = None
        self._output: SceneForecast | None = None
        self._since_s = self._monotonic_s()

    def close(self) -> None:
        self._worker.close()

    def reject(self) -> None:
        """Counts an input that could not even be converted."""
        self._rejected += 1

    def offer_odometry(self, stamp_us: int, world_from_ego: NDArray[np.float64]) -> Verdict:
        """Takes an ego pose. RESTARTED: the data began anew, and everything before it has been forgotten."""
        verdict = self._odometry_gate.judge(stamp_us)
        if verdict is Verdict.RESTARTED:
            self._epoch += 1
            self._forget()
        elif verdict is not Verdict.ACCEPTED:
            self._rejected += 1
            return verdict
        self._clock.observe(stamp_us)
        self._poses.append(stamp_us, world_from_ego)
        self._submit_pending()
        return verdict

    def offer_occupancy(self, stamp_us: int, occupancy: Occupancy) -> Verdict:
        """Takes an observation; it waits for odometry that covers its stamp."""
        verdict = self._occupancy_gate.judge(stamp_us)
        if verdict is not Verdict.ACCEPTED:
            self._rejected += 1
            return verdict
        self._newest_occupancy_us = stamp_us
        if self._pending is not None:
            self._skipped += 1
        self._pending = (stamp_us, occupancy)
        self._submit_pending()
        return verdict

    def _submit_pending(self) -> None:
        newest_us = self._poses.newest_us
        if self._pending is None or newest_us is None or newest_us < self._pending[0]:
            return
        stamp_us, occupancy = self._pending
        self._pending = None
        pose = self._poses.at(stamp_us)
        if pose is None:  # before the first odometry, or in a gap of it
            self._skipped += 1
            return
        if self._worker.offer(_Task(SensorFrame(stamp_us, pose, occupancy), self._epoch)) is not None:
            self._skipped += 1

    def _infer(self, task: _Task) -> _Result:
        """In the worker's thread, which alone uses `_engine_epoch`."""
        if task.epoch != self._engine_epoch:
            self._engine.reset()
            self._engine_epoch = task.epoch
        start = time.perf_counter()
        forecast = self._engine.step(task.frame)
        return _Result(forecast, task.epoch, time.perf_counter() - start)

    def tick(self) -> Tick:
        """What to publish now."""
        is_new = self._take_result()
        level, reasons = self._judge()
        forecast = None
        if level is not Level.FAULT and self._latest is not None:
            forecast = self._output = self._anchored(self._latest.forecast, is_new)
            self._published += 1
            self._inferences += is_new
        return Tick(forecast, self._status(level, reasons, forecast, is_new and forecast is not None), self._failure)

    def _take_result(self) -> bool:
        if self._failure is not None:
            return False
        try:
            result = self._worker.take()
        except Exception as error:  # reported with each tick from now on, as FAULT
            self._failure = error
            return False
        if result is None or result.epoch != self._epoch:
            return False
        self._latest = result
        if self._first_us is None:
            self._first_us = result.forecast.stamp_us
        return True

    def _anchored(self, latest: SceneForecast, is_new: bool) -> SceneForecast:
        """The newest inference at the newest pose. Stamps of what is published never go back.

        An inference takes longer than a tick: when it arrives, the one before it has been published with later
        stamps, by odometry. So a new inference, too, is moved to the newest pose, unless its own stamp is the newest.
        """
        output, newest_us = self._output, self._poses.newest_us
        if is_new and (output is None or latest.stamp_us > output.stamp_us):
            return latest
        assert output is not None and newest_us is not None  # a forecast needed a pose, and one was published
        if not is_new and newest_us <= output.stamp_us:
            return output
        return self._engine.reanchor(latest, self._poses.newest, newest_us)

    def _age_s(self, stamp_us: int | None) -> float:
        now_us = self._clock.now_us()
        return math.nan if stamp_us is None or now_us is None else (now_us - stamp_us) / 1e6

    def _judge(self) -> tuple[Level, tuple[str, ...]]:
        if self._failure is not None:
            return Level.FAULT, ("inference_failed",)
        limits = self._limits
        limit_s, hold_s = limits.max_input_age_us / 1e6, limits.hold_timeout_us / 1e6
        if self._latest is None:
            age_s = self._monotonic_s() - self._since_s
        else:
            age_s = self._age_s(self._latest.forecast.stamp_us)
        if self._latest is None or age_s > limit_s:
            level = Level.FAULT if age_s > limit_s + hold_s else Level.HOLD
            return level, self._why_late(limit_s)
        assert self._first_us is not None
        if self._latest.forecast.stamp_us - self._first_us < limits.refill_us:
            return Level.DEGRADED, ("history_refilling",)
        return Level.OK, ()

    def _why_late(self, limit_s: float) -> tuple[str, ...]:
        """Which input is missing; if none is, the inference is late."""
        ages = {
            "no_occupancy": self._age_s(self._newest_occupancy_us),
            "no_odometry": self._age_s(self._poses.newest_us),
        }
        missing = tuple(name for name, age_s in ages.items() if math.isnan(age_s) or age_s > limit_s)
        return missing or ("inference_late",)

    def _status(
        self, level: Level, reasons: tuple[str, ...], forecast: SceneForecast | None, is_new: bool
    ) -> LiveStatus:
        latest = self._latest
        observation_us = latest.forecast.stamp_us if latest else None
        known_us = [s for s in (self._newest_occupancy_us, self._poses.newest_us) if s is not None]
        return LiveStatus(
            level=level,
            reasons=reasons,
            stamp_us=forecast.stamp_us if forecast else max(known_us, default=0),
            observation_us=observation_us or 0,
            input_age_s=self._age_s(observation_us),
            inference_time_s=latest.seconds if latest else math.nan,
            is_new_inference=is_new,
            inference_id=latest.forecast.inference_id if latest else 0,
            engine_id=self._engine.bundle_id,
            published_count=self._published,
            inference_count=self._inferences,
            rejected_count=self._rejected,
            skipped_count=self._skipped,
        )
