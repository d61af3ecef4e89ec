"""Odometry as it comes: stamps judged, jumps found, the newest poses kept. What a jump means is the caller's to say."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.poses import PoseHistory, is_jump
from deploy.stamps import Clock, StampGate, Verdict


class OdometryLimits(Protocol):
    """Of LiveLimits and PerceptionLimits, which say what each means."""

    @property
    def future_tolerance_us(self) -> int: ...
    @property
    def restart_confirmations(self) -> int: ...
    @property
    def max_ego_jump_m(self) -> float: ...
    @property
    def max_yaw_jump_rad(self) -> float: ...


class Judged(NamedTuple):
    """jumped: an accepted pose that lies further from the last one than a car goes."""

    verdict: Verdict
    jumped: bool


class LiveOdometry:
    """`judge` a pose; where it is good, drop what it makes invalid; then `append` it. One thread."""

    def __init__(self, clock: Clock, limits: OdometryLimits) -> None:
        self._clock, self._limits = clock, limits
        self._gate = StampGate(
            clock, future_tolerance_us=limits.future_tolerance_us, confirmations=limits.restart_confirmations
        )
        self.poses = PoseHistory()

    def judge(self, stamp_us: int, world_from_ego: NDArray[np.float64]) -> Judged:
        """RESTARTED: the data began anew. Nothing is kept yet."""
        verdict, before_us, limits = self._gate.judge(stamp_us), self.poses.newest_us, self._limits
        if verdict is not Verdict.ACCEPTED or before_us is None:
            return Judged(verdict, False)
        passed_us = stamp_us - before_us
        jumped = is_jump(self.poses.newest, world_from_ego, passed_us, limits.max_ego_jump_m, limits.max_yaw_jump_rad)
        return Judged(verdict, jumped)

    def append(self, stamp_us: int, world_from_ego: NDArray[np.float64]) -> None:
        """Keeps a pose that was judged good; a clock that only the data moves goes on to it."""
        self._clock.observe(stamp_us)
        self.poses.append(stamp_us, world_from_ego)

    def forget_stamps(self) -> None:
        """The next stamp may be any: the clock itself has jumped."""
        self._gate.forget()
