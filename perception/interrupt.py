"""Ctrl-C that saves first."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import FrameType


@dataclass
class Interrupt:
    """Set by the first SIGINT or SIGTERM; a training loop then saves and ends."""

    asked: bool = False
    previous: dict[int, object] = field(default_factory=dict)

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
