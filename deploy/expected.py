"""What a forecast told of the instant that is perceived now: the prior of perception.steady."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from calib.transforms import se3_from_xyz_yaw
from perception.steady import Expected
from perception.types import SceneForecast

FOR_NOW_US = 60_000  # a forecast is for now when its time is so near: half the time between observations, and some

Pose = NDArray[np.float64]


class Foreseen(NamedTuple):
    """A step of a forecast. told_us: stamp of the forecast. due_us: the instant that the step is of. told_from_due:
    float64 [4, 4], the ego frame of then in that of the forecast. confidence: mean over the columns."""

    told_us: int
    due_us: int
    told_from_due: Pose
    semantics: UInt8[NDArray[np.uint8], "X Y Z"]
    confidence: float


def foreseen(forecast: SceneForecast) -> list[Foreseen]:
    """All steps."""
    xy0 = np.pad(forecast.trajectory[:, :2].astype(np.float64), ((0, 0), (0, 1)))
    poses = se3_from_xyz_yaw(xy0, forecast.trajectory[:, 2].astype(np.float64))
    return [
        Foreseen(
            forecast.stamp_us,
            forecast.stamp_us + round(1e6 * float(seconds)),
            pose,
            forecast.semantics[step],
            float(forecast.confidence[step].mean()),
        )
        for step, (seconds, pose) in enumerate(zip(forecast.horizons_s, poses, strict=True))
    ]


def expected_at(steps: Iterable[Foreseen], stamp_us: int, pose_of: Callable[[int], Pose | None]) -> Expected | None:
    """Of the steps that are near enough in time the one that was told last; None without one.

    Args:
        pose_of: world_from_ego at the stamp of a forecast; None where that is not known, and the step of no use.
    """
    for step in sorted(steps, key=lambda s: (s.told_us, -abs(s.due_us - stamp_us)), reverse=True):
        if abs(step.due_us - stamp_us) > FOR_NOW_US:
            continue
        pose = pose_of(step.told_us)
        if pose is not None:
            return Expected(step.semantics, pose @ step.told_from_due, step.confidence)
    return None


def expected_now(recent: Sequence[SceneForecast], stamp_us: int) -> Expected | None:
    """Of whole forecasts, whose poses are known."""
    poses = {forecast.stamp_us: forecast.world_from_ego for forecast in recent}
    return expected_at((step for forecast in recent for step in foreseen(forecast)), stamp_us, poses.get)
