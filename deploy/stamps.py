"""Which stamps to believe. Messages carry the time of their data; a node must not use its own clock in its place.

Two kinds of "now":
    data   the newest odometry stamp, plus the time since it arrived. A recording replays with its true stamps
           (2018, at any speed) and no /clock. A stamp cannot be compared with any other clock here.
    ros    the ROS clock: the car's wall time, or /clock of a simulator or bag. Latency then counts into every age.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol


class Verdict(Enum):
    ACCEPTED = "accepted"
    OUT_OF_ORDER = "out_of_order"
    FROM_FUTURE = "from_future"
    # Several rejected stamps in a row agree with each other: the source has begun anew (a loop, another recording).
    RESTARTED = "restarted"


class Clock(Protocol):
    @property
    def authoritative(self) -> bool:
        """True: no stamp can lie beyond this clock. False: the stamps are all that is known of the time."""
        ...

    @property
    def slack_us(self) -> int:
        """How far a right stamp may be ahead of this clock."""
        ...

    def now_us(self) -> int | None:
        """Microseconds in the time of the stamps; None while nothing is known."""
        ...

    def observe(self, stamp_us: int) -> None:
        """A stamp that was accepted just now."""
        ...


class DataClock:
    """Time as the data tells it; between messages it runs on at the speed of the machine's clock.

    A busy machine delivers two topics unevenly, and a replay may run at another rate: only what is a second ahead of
    the odometry is from the future.
    """

    @property
    def authoritative(self) -> bool:
        return False

    @property
    def slack_us(self) -> int:
        return 1_000_000

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._stamp_us: int | None = None
        self._arrival_s = 0.0

    def observe(self, stamp_us: int) -> None:
        self._stamp_us, self._arrival_s = stamp_us, self._monotonic_s()

    def now_us(self) -> int | None:
        if self._stamp_us is None:
            return None
        return self._stamp_us + int((self._monotonic_s() - self._arrival_s) * 1e6)


class ExternalClock:
    """A clock that others keep (ROS time). Stamps beyond it are never believed, however many agree."""

    @property
    def authoritative(self) -> bool:
        return True

    @property
    def slack_us(self) -> int:
        return 0

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us

    def observe(self, stamp_us: int) -> None:
        """The stamps do not move this clock."""

    def now_us(self) -> int | None:
        """None under use_sim_time while nobody has told the time: ROS calls that 0."""
        return self._now_us() or None


class StampGate:
    """Judges the stamps of one topic."""

    def __init__(self, clock: Clock, *, future_tolerance_us: int, confirmations: int | None) -> None:
        """
        Args:
            clock: tells now.
            future_tolerance_us: how far beyond now, and the clock's slack, a stamp may lie.
            confirmations: how many rejected stamps in a row, each later than the one before, make a restart;
                None: this topic cannot declare one.
        """
        self._clock, self._tolerance_us, self._confirmations = clock, future_tolerance_us, confirmations
        self._last_us: int | None = None
        self._suspects: list[int] = []

    def forget(self) -> None:
        self._last_us, self._suspects = None, []

    def judge(self, stamp_us: int) -> Verdict:
        now_us = self._clock.now_us()
        if now_us is not None and stamp_us > now_us + self._tolerance_us + self._clock.slack_us:
            return self._reject(stamp_us, Verdict.FROM_FUTURE)
        if self._last_us is not None and stamp_us <= self._last_us:
            return self._reject(stamp_us, Verdict.OUT_OF_ORDER)
        self._last_us, self._suspects = stamp_us, []
        return Verdict.ACCEPTED

    def _reject(self, stamp_us: int, verdict: Verdict) -> Verdict:
        if self._confirmations is None or (verdict is Verdict.FROM_FUTURE and self._clock.authoritative):
            return verdict
        follows = bool(self._suspects) and stamp_us > self._suspects[-1]
        self._suspects = [*self._suspects, stamp_us] if follows else [stamp_us]
        if len(self._suspects) < self._confirmations:
            return verdict
        self._last_us, self._suspects = stamp_us, []
        return Verdict.RESTARTED


class ClockWatch:
    """Tells when a clock that others keep has jumped: a bag that loops under use_sim_time, a clock that was set."""

    BACK_US = 100_000  # of a clock that several publish in turns; a loop goes back by seconds
    FASTEST = 25.0  # seconds of /clock in one of ours: a bag may be played fast

    def __init__(self, clock: Clock, max_jump_us: int, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._max_jump_us, self._monotonic_s = clock, max_jump_us, monotonic_s
        self._last_us: int | None = None
        self._last_s = 0.0

    def jumped(self) -> bool:
        """Whether it has since the last call. A clock that only the data moves never does: StampGate watches that."""
        now_us, now_s = self._clock.now_us() if self._clock.authoritative else None, self._monotonic_s()
        last_us, passed_us = self._last_us, (now_s - self._last_s) * 1e6
        self._last_us, self._last_s = now_us, now_s
        if now_us is None or last_us is None:
            return False
        step_us = now_us - last_us
        return step_us < -self.BACK_US or step_us > self._max_jump_us + passed_us * self.FASTEST
