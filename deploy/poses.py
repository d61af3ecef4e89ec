"""Ego poses by time: interpolation, and the short history of odometry in which an observation's pose is looked up."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import numpy as np
from numpy.typing import NDArray

Pose = NDArray[np.float64]  # [4, 4], target_from_source


def quaternion_from_rotation(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """[w, x, y, z] with w >= 0 of a rotation matrix [3, 3].

    The largest component is computed first, so that no small number is divided by (Shepperd 1978).
    """
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    squares = np.array([1 + trace, *(1 + 2 * r[i, i] - trace for i in range(3))])  # 4w^2, 4x^2, 4y^2, 4z^2
    largest = int(np.argmax(squares))
    products = np.array(
        [
            [squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], squares[1], r[1, 0] + r[0, 1], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], squares[2], r[2, 1] + r[1, 2]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2], squares[3]],
        ]
    )  # 4 q q^T
    quaternion: NDArray[np.float64] = products[largest] / (2 * np.sqrt(squares[largest]))
    return -quaternion if quaternion[0] < 0 else quaternion


def interpolate_pose(first: Pose, second: Pose, fraction: float) -> Pose:
    """The pose `fraction` (0..1) of the way: the translation linear, the rotation about one fixed axis."""
    if fraction <= 0.0:
        return first
    if fraction >= 1.0:
        return second
    out = np.eye(4)
    out[:3, 3] = (1 - fraction) * first[:3, 3] + fraction * second[:3, 3]
    w, *axis = quaternion_from_rotation(first[:3, :3].T @ second[:3, :3])
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:
        out[:3, :3] = first[:3, :3]
        return out
    x, y, z = np.asarray(axis) / sine
    angle = fraction * 2 * np.arctan2(sine, w)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)  # Rodrigues
    out[:3, :3] = first[:3, :3] @ turn
    return out


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
