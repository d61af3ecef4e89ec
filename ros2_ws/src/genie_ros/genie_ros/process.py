"""What our processes share: a stop that is asked for by a signal, and errors as exit codes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from calib.errors import CheckFailed, InputError


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set. rclpy's own handlers would end the context before we can say goodbye."""
    stop = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop


@contextmanager
def ros_context(arguments: list[str]) -> Iterator[None]:
    """rclpy between init and shutdown. InputError where ROS cannot use the arguments (a malformed parameter file)."""
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except (rclpy_implementation.RCLError, rclpy_implementation.UnknownROSArgsError) as error:
        raise InputError(
            str(error), expected="ROS 2 arguments and parameter files", fix="mend what it names"
        ) from error
    try:
        yield
    finally:
        rclpy.shutdown()


def exit_code_of(run: Callable[[], int]) -> int:
    """What `run` returns; 2, and the reason on stderr, where it meets something that the user has to mend; 1 where a
    check failed."""
    try:
        return run()
    except InputError as error:
        print(f"geniedrive: {error}", file=sys.stderr)
        return 2
    except CheckFailed as error:
        print(f"geniedrive: check failed: {error}", file=sys.stderr)
        return 1
