"""The short history of odometry in which an observation's pose is looked up."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import numpy as np

from calib.sync import Pose, interpolate_pose
from calib.transforms import inverse, planar

FASTEST_MPS, FASTEST_RPS = 70.0, 2.5  # of a car: a gap in the odometry may hide that much motion


class PoseHistory:
    """Odometry of the last seconds, in time order. Poses are interpolated, never extrapolated."""

    def __init__(self, *, span_us: int = 10_000_000, max_gap_us: int = 250_000) -> None:
        """
        Args:
            span_us: how long poses are kept.
            max_gap_us: over a longer gap in the odometry nothing is interpolated.
        """
        self._span_us, self._max_gap_us = span_us, max_gap_us
        self._stamps: deque[int] = deque()
        self._poses: deque[Pose] = deque()

    def __len__(self) -> int:
        return len(self._stamps)

    def clear(self) -> None:
        self._stamps.clear()
        self._poses.clear()

    def append(self, stamp_us: int, world_from_ego: Pose) -> None:
        """Adds a pose that is newer than all others (the caller has checked the stamp)."""
        self._stamps.append(stamp_us)
        self._poses.append(world_from_ego)
        while stamp_us - self._stamps[0] > self._span_us:
            self._stamps.popleft()
            self._poses.popleft()

    @property
    def newest_us(self) -> int | None:
        return self._stamps[-1] if self._stamps else None

    @property
    def newest(self) -> Pose:
        """world_from_ego of the newest odometry; IndexError if there is none."""
        return self._poses[-1]

    def at(self, stamp_us: int) -> Pose | None:
        """world_from_ego at a stamp; None where the history does not cover it."""
        index = bisect_left(self._stamps, stamp_us)
        if index == len(self._stamps):
            return None
        if self._stamps[index] == stamp_us:
            return self._poses[index]
        if index == 0 or self._stamps[index] - self._stamps[index - 1] > self._max_gap_us:
            return None
        before, after = self._stamps[index - 1], self._stamps[index]
        fraction = (stamp_us - before) / (after - before)
        return interpolate_pose(self._poses[index - 1], self._poses[index], fraction)


def is_jump(before: Pose, after: Pose, passed_us: int, max_m: float, max_rad: float) -> bool:
    """Whether the ego pose went further than a car does: a relocalisation, another recording, a sensor that slipped.

    Args:
        before, after: world_from_ego, `passed_us` apart.
        max_m, max_rad: what never is a jump, however short the time.
    """
    x, y, yaw = planar(inverse(before) @ after)
    seconds = passed_us * 1e-6
    moved, turned = float(np.hypot(x, y)), abs(float(yaw))
    return (moved > max_m and moved > FASTEST_MPS * seconds) or (turned > max_rad and turned > FASTEST_RPS * seconds)
