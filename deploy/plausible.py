"""Whether a forecast can be true: what is not finite, or what no car does, is withheld, whatever computed it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.transforms import inverse, planar
from deploy.kinematics import kinematics_of
from perception.types import NUM_CLASSES, SceneForecast, SensorFrame

NOT_FINITE, BAD_CLASS, BAD_CONFIDENCE = "output_not_finite", "output_class", "output_confidence"
SPEED, TURN, JUMP = "output_speed", "output_turn", "output_jump"
MOTION_WITHIN_S = 1.2  # an older frame tells nothing of the speed now


@dataclass(frozen=True)
class PlausibleLimits:
    """Beyond what road vehicles do, with room: a limit that a forecast may reach in earnest would cost forecasts.

    speed_mps:        of the ego along its trajectory.
    turn_mps2:        speed times turn rate, the acceleration to the side; a lorry tips at 4, a sports car slides at 10.
    heading_rate_rps: of the ego; a car parks at 1.
    jump_m:           between the first step and where the measured speed leads: 5 m in half a second are 40 m/s^2.
    """

    speed_mps: float = 70.0
    turn_mps2: float = 20.0
    heading_rate_rps: float = 2.5
    jump_m: float = 5.0


def problems(
    forecast: SceneForecast, frame: SensorFrame, before: SensorFrame | None, limits: PlausibleLimits
) -> tuple[str, ...]:
    """Words for what is wrong with a forecast; none where nothing is.

    Args:
        frame: what it was made from.
        before: the frame before that one, if there is one: the measured speed.
    """
    numbers = (forecast.trajectory, forecast.horizons_s, forecast.confidence)
    if not all(np.isfinite(values).all() for values in numbers):
        return (NOT_FINITE,)
    found = []
    if forecast.semantics.size and int(forecast.semantics.max()) >= NUM_CLASSES:
        found.append(BAD_CLASS)
    if forecast.confidence.size and not 0 <= float(forecast.confidence.min()) <= float(forecast.confidence.max()) <= 1:
        found.append(BAD_CONFIDENCE)
    if len(forecast.trajectory):
        found += _motion_problems(forecast, limits)
        if _jumps(forecast, frame, before, limits):
            found.append(JUMP)
    return tuple(found)


def _motion_problems(forecast: SceneForecast, limits: PlausibleLimits) -> list[str]:
    motion = kinematics_of(forecast.trajectory, forecast.horizons_s)
    speed = np.hypot(motion.longitudinal, motion.lateral)
    rate = np.abs(motion.heading_rate)
    turns = float((speed * rate).max()) > limits.turn_mps2 or float(rate.max()) > limits.heading_rate_rps
    return [SPEED] * (float(speed.max()) > limits.speed_mps) + [TURN] * turns


def _jumps(forecast: SceneForecast, frame: SensorFrame, before: SensorFrame | None, limits: PlausibleLimits) -> bool:
    if before is None:
        return False
    seconds = (frame.stamp_us - before.stamp_us) * 1e-6
    if not 0 < seconds <= MOTION_WITHIN_S:
        return False
    # Where the ego would be if it went on as it came: the last step in its own frame, repeated.
    step = planar(inverse(before.world_from_ego) @ frame.world_from_ego)[:2] / seconds
    expected = step * float(forecast.horizons_s[0])
    return bool(np.hypot(*(forecast.trajectory[0, :2] - expected)) > limits.jump_m)
