"""The level of a tick, and why: one place, one order. The worst level wins; the reasons are those of that level."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deploy import faults
from deploy.cameras import NONE_WATCHED, CameraState
from deploy.live_status import Level, LiveLimits


@dataclass(frozen=True)
class Facts:
    """What is known at a tick. Ages in seconds, NaN where there was nothing yet.

    failed:      the inference thread has died.
    withheld:    problems of the newest inference, which was not published for them.
    since_s:     since activation or the last flush.
    forecast_age_s, occupancy_age_s, odometry_age_s: of the newest of each.
    filled_us:   how much data the inferences span; None before the first.
    flushed:     why history was dropped, while it has not refilled; "" after a start.
    inference_s: how long the newest inference took.
    """

    failed: bool
    withheld: tuple[str, ...]
    since_s: float
    forecast_age_s: float
    occupancy_age_s: float
    odometry_age_s: float
    filled_us: int | None
    flushed: str
    inference_s: float
    cameras: CameraState = NONE_WATCHED


def judge(facts: Facts, limits: LiveLimits) -> tuple[Level, tuple[str, ...]]:
    """Level and reasons."""
    if facts.failed:
        return Level.FAULT, (faults.INFERENCE_FAILED,)
    if facts.cameras.differing:
        return Level.FAULT, tuple(f"{faults.CALIBRATION_DIFFERS}:{name}" for name in facts.cameras.differing)
    if facts.withheld:
        return Level.FAULT, facts.withheld
    limit_s, hold_s = limits.max_input_age_us * 1e-6, limits.hold_timeout_us * 1e-6
    age_s = facts.since_s if facts.filled_us is None else facts.forecast_age_s
    late_s = max(age_s - limit_s, facts.cameras.front_lost_s)
    if facts.filled_us is None or late_s > 0:
        flushed = (facts.flushed,) if facts.filled_us is None and facts.flushed else ()
        late = _why_late(facts, limit_s) if late_s > 0 or not flushed else ()
        return (Level.FAULT if late_s > hold_s else Level.HOLD), (*flushed, *late)
    doubts = [f"{faults.CAMERA_LOST}:{name}" for name in facts.cameras.lost]
    if facts.filled_us < limits.refill_us:
        doubts += [faults.REFILLING, *([facts.flushed] if facts.flushed else [])]
    if facts.inference_s > limits.slow_inference_us * 1e-6:
        doubts.append(faults.INFERENCE_SLOW)
    return (Level.DEGRADED, tuple(doubts)) if doubts else (Level.OK, ())


def _why_late(facts: Facts, limit_s: float) -> tuple[str, ...]:
    """Which input is missing; if none is, the inference is late."""
    missing = [faults.FRONT_CAMERA_LOST] if facts.cameras.front_lost_s > 0 else []
    for word, age_s in ((faults.NO_OCCUPANCY, facts.occupancy_age_s), (faults.NO_ODOMETRY, facts.odometry_age_s)):
        if math.isnan(age_s) or age_s > limit_s:
            missing.append(word)
    return tuple(missing) or (faults.INFERENCE_LATE,)
