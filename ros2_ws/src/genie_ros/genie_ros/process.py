"""What our processes share: a stop that is asked for by a signal, and errors as exit codes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from calib.errors import InputError


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set. rclpy's own handlers would end the context before we can say goodbye."""
    stop = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop


def exit_code_of(run: Callable[[], int]) -> int:
    """What `run` returns; 2, and the reason on stderr, where it meets something that the user has to mend."""
    try:
        return run()
    except InputError as error:
        print(f"geniedrive: {error}", file=sys.stderr)
        return 2
