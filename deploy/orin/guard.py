"""A second process between `switch` and `confirm`: whatever becomes of the first, somebody goes back.

It also does the restarts, one after the other: a restart that the first process had begun when it was killed can then
never overtake the one that brings the old release back.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from calib.errors import CheckFailed


class Guard:
    """Lives from its making to `confirm` or `let_go`. An end of this process is a `let_go`, too."""

    def __init__(self, restart: Callable[[], None], go_back: Callable[[], object]) -> None:
        """
        Args:
            restart: restarts the service, or raises CheckFailed.
            go_back: makes the release before the current one again.
        """
        ours, theirs = socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            ours.close()
            _guard(theirs, restart, go_back)
        theirs.close()
        self._socket = ours
        self._answers = ours.makefile("r", encoding="utf-8")

    def restart(self) -> None:
        """Raises CheckFailed where the restart fails."""
        self._socket.sendall(b"restart\n")
        answer = self._answers.read(1)
        if answer != "+":
            raise CheckFailed(self._answers.readline().encode().decode("unicode_escape").strip() or "no answer")

    def confirm(self) -> None:
        """The new release stays."""
        self._socket.sendall(b"confirm\n")
        os.waitpid(self._child, 0)

    def let_go(self) -> None:
        """The second process goes back now; returns when it has."""
        self._answers.close()
        self._socket.close()
        os.waitpid(self._child, 0)


def _guard(host: socket.socket, restart: Callable[[], None], go_back: Callable[[], object]) -> None:
    """In the second process; never returns."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # nobody must wait for this process because it holds a connection
        os.dup2(nothing, stream)
    code = 1
    try:
        with host.makefile("r", encoding="utf-8") as asked:
            for line in asked:
                if line == "confirm\n":
                    os._exit(0)
                host.sendall(_try(restart))
        go_back()
        restart()
        code = 0
    finally:
        os._exit(code)


def _try(restart: Callable[[], None]) -> bytes:
    try:
        restart()
    except CheckFailed as error:
        return b"-" + str(error).encode("unicode_escape") + b"\n"
    return b"+"
