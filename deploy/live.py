"""From messages as they come to a forecast at a steady rate. Knows nothing of ROS; the node converts and publishes.

    offer_odometry, offer_occupancy   judge the stamp, find the pose, hand the newest frame to the inference thread
    offer_camera, tell_command        which cameras are there; where the driver or navigator wants to go
    tick                              a new forecast if there is one, else the last one moved to the newest ego pose

All methods are called from one thread; only the engine's `step` and `reset` run in another. Between them the engine's
`reanchor` must be safe to call while `step` runs. What is a fault, how soon it is told and how it is mended:
deploy/faults.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calib.rig import Intrinsics
from deploy import faults
from deploy.cameras import NONE_WATCHED, CameraWatch
from deploy.inference import Inference, Inferred
from deploy.judge import Facts, judge
from deploy.live_status import ForecastEngine, Level, LiveLimits, LiveStatus, Tick
from deploy.odometry import LiveOdometry
from deploy.stamps import Clock, ClockWatch, StampGate, Verdict
from genie.command import Command
from genie.observation import GAP_S
from perception.types import Occupancy, SceneForecast, SensorFrame


class LiveForecaster:
    """Holds the newest observation, the newest forecast and the recent odometry; one per activation of the node."""

    def __init__(
        self,
        engine: ForecastEngine,
        clock: Clock,
        limits: LiveLimits | None = None,
        *,
        cameras: CameraWatch | None = None,
        prepare: Callable[[SceneForecast], None] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            prepare: called in the inference thread with each good forecast: what a tick should not wait for.
        """
        self._engine, self._clock, self._cameras, self._monotonic_s = engine, clock, cameras, monotonic_s
        self._limits = limits = limits or LiveLimits()
        self._odometry = LiveOdometry(clock, limits)
        self._occupancy_gate = StampGate(clock, future_tolerance_us=limits.future_tolerance_us, confirmations=None)
        self._clock_watch = ClockWatch(clock, limits.max_clock_jump_us, monotonic_s=monotonic_s)
        self._poses = self._odometry.poses
        self._epoch = 0  # counts the stretches of data; results of an earlier one are dropped
        self._published = self._inferences = self._rejected = self._skipped = 0
        self._command: tuple[Command, float] | None = None
        self._forget("")
        self._inference = Inference(engine, limits, prepare=prepare, monotonic_s=monotonic_s)

    def _forget(self, why: str) -> None:
        """All that belongs to one stretch of data."""
        self._poses.clear()
        self._occupancy_gate.forget()
        if self._cameras is not None:
            self._cameras.forget()
        self._pending: tuple[int, Occupancy] | None = None
        self._newest_occupancy_us: int | None = None
        self._first_us: int | None = None
        self._latest: Inferred | None = None
        self._withheld: tuple[str, ...] = ()
        self._output: SceneForecast | None = None
        self._since_s = self._monotonic_s()
        self._flushed = why

    def close(self) -> None:
        self._inference.close()

    # --- input ---

    def reject(self) -> None:
        """Counts an input that could not even be converted."""
        self._rejected += 1

    def flush(self, why: str) -> None:
        """Forgets the history, here and in the engine; `why` is told until it has refilled."""
        self._epoch += 1
        self._forget(why)

    def offer_odometry(self, stamp_us: int, world_from_ego: NDArray[np.float64]) -> Verdict:
        """Takes an ego pose. RESTARTED: the data began anew, and everything before it has been forgotten."""
        self._watch_clock()
        verdict, jumped = self._odometry.judge(stamp_us, world_from_ego)
        if verdict is Verdict.RESTARTED:
            self.flush(faults.DATA_RESTARTED)
        elif verdict is not Verdict.ACCEPTED:
            self._rejected += 1
            return verdict
        elif jumped:
            self.flush(faults.EGO_JUMP)
        self._odometry.append(stamp_us, world_from_ego)
        self._submit_pending()
        return verdict

    def offer_occupancy(self, stamp_us: int, occupancy: Occupancy) -> Verdict:
        """Takes an observation; it waits for odometry that covers its stamp."""
        self._watch_clock()
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

    def offer_camera(self, index: int, stamp_us: int, found: Intrinsics) -> Verdict:
        """Takes what a camera tells of itself. ValueError where none are watched."""
        if self._cameras is None:
            raise ValueError("offer_camera() without a CameraWatch")
        self._watch_clock()
        verdict = self._cameras.offer(index, stamp_us, found)
        self._rejected += verdict is not Verdict.ACCEPTED
        return verdict

    def tell_command(self, command: Command | None) -> None:
        """Where the ego is told to go, from now on until the time-out; None takes it back."""
        self._command = None if command is None else (command, self._monotonic_s())

    @property
    def command(self) -> Command | None:
        """What the next inference is told. An old command is none: whoever gives them may have died."""
        if self._command is None:
            return None
        command, told_s = self._command
        return command if self._monotonic_s() - told_s <= self._limits.command_timeout_us * 1e-6 else None

    def _watch_clock(self) -> None:
        if self._clock_watch.jumped():
            self._odometry.forget_stamps()
            self.flush(faults.CLOCK_JUMP)

    def _submit_pending(self) -> None:
        newest_us = self._poses.newest_us
        if self._pending is None or newest_us is None or newest_us < self._pending[0]:
            return
        stamp_us, occupancy = self._pending
        self._pending = None
        pose = self._poses.at(stamp_us)
        blind = self._cameras is not None and self._cameras.look().front_lost_s > 0
        if pose is None or blind:  # before the first odometry, or in a gap of it; or nobody looks ahead
            self._skipped += 1
            return
        self._skipped += self._inference.offer(SensorFrame(stamp_us, pose, occupancy), self.command, self._epoch)

    # --- output ---

    def tick(self) -> Tick:
        """What to publish now."""
        self._watch_clock()
        is_new = self._take_result()
        level, reasons = judge(self._facts(), self._limits)
        forecast = None
        if level is not Level.FAULT and self._latest is not None:
            forecast = self._output = self._anchored(self._latest.forecast, is_new)
            self._published += 1
            self._inferences += is_new
        status = self._status(level, reasons, forecast, is_new and forecast is not None)
        return Tick(forecast, status, self._inference.failure)

    def _take_result(self) -> bool:
        result = self._inference.take(self._epoch)
        if self._inference.failure is not None:
            self._refill(faults.INFERENCE_FAILED)
        if result is None:
            return False
        self._withheld = result.problems
        if result.problems:
            self._refill(faults.OUTPUT_WITHHELD)
            return False
        before = self._latest
        if before is not None and result.forecast.stamp_us - before.forecast.stamp_us > GAP_S * 1e6:
            self._refill("")  # the engine starts afresh after such a gap
        self._latest = result
        if self._first_us is None:
            self._first_us = result.forecast.stamp_us
        return True

    def _refill(self, why: str) -> None:
        """The engine forgets its state; the poses and stamps of this stretch stay good."""
        self._first_us, self._flushed = None, why

    def _anchored(self, latest: SceneForecast, is_new: bool) -> SceneForecast:
        """The newest inference at the newest pose. Stamps of what is published never go back.

        An inference takes longer than a tick: when it arrives, the one before it has been published with later
        stamps, by odometry. So a new inference, too, is moved to the newest pose, unless its own stamp is the newest.
        """
        output, newest_us = self._output, self._poses.newest_us
        if is_new and (output is None or latest.stamp_us >= output.stamp_us):
            return latest
        if newest_us is None or newest_us <= latest.stamp_us:  # nothing newer is known of the ego
            return latest if output is None else output
        if output is not None and not is_new and newest_us <= output.stamp_us:
            return output
        return self._engine.reanchor(latest, self._poses.newest, newest_us)

    def _age_s(self, stamp_us: int | None) -> float:
        now_us = self._clock.now_us()
        return math.nan if stamp_us is None or now_us is None else (now_us - stamp_us) / 1e6

    def _facts(self) -> Facts:
        latest, filled_us = self._latest, None
        if latest is not None:
            filled_us = 0 if self._first_us is None else latest.forecast.stamp_us - self._first_us
        return Facts(
            failed=self._inference.failure is not None,
            withheld=self._withheld,
            since_s=self._monotonic_s() - self._since_s,
            forecast_age_s=self._age_s(latest.forecast.stamp_us if latest else None),
            occupancy_age_s=self._age_s(self._newest_occupancy_us),
            odometry_age_s=self._age_s(self._poses.newest_us),
            filled_us=filled_us,
            flushed=self._flushed,
            inference_s=latest.seconds if latest else math.nan,
            cameras=NONE_WATCHED if self._cameras is None else self._cameras.look(),
        )

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
            camera_mask=self._cameras.look().mask if self._cameras is not None else 0,
            command=latest.command if latest else None,
            columns=latest.columns if latest else 0,
            published_count=self._published,
            inference_count=self._inferences,
            rejected_count=self._rejected,
            skipped_count=self._skipped,
        )
