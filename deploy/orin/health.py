"""How a service tells that it is well: to systemd (sd_notify) and in a small file, from the loop that does the work.

Who beats is the loop itself, never a thread beside it: a loop that hangs, or an engine that does not answer, ends the
beats, and systemd's watchdog restarts the service. Without systemd and without a file all of this does nothing.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.files import write_json

HEALTH_FILE = "GENIEDRIVE_HEALTH_FILE"
RELEASE = "GENIEDRIVE_RELEASE"
PERIOD_S = 0.25  # between two beats, at least


@dataclass(frozen=True)
class Health:
    """What the file says.

    release: id of the release that the process was started from. ticks: of the loop so far. healthy: whether the engine
    answers. why: in words.
    """

    pid: int
    release: str
    ticks: int
    healthy: bool
    why: str

    def alive(self) -> bool:
        """Whether the process that wrote it is still there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def read_health(path: Path) -> Health | None:
    """None where there is no such file, or nothing that can be understood."""
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Health(int(tree["pid"]), str(tree["release"]), int(tree["ticks"]), tree["healthy"] is True, tree["why"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Heartbeat:
    """One for each process. Belongs to the thread of the loop."""

    def __init__(
        self, environment: Mapping[str, str] = os.environ, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Where to tell it comes from the environment: NOTIFY_SOCKET (systemd), GENIEDRIVE_HEALTH_FILE."""
        address, file = environment.get("NOTIFY_SOCKET", ""), environment.get(HEALTH_FILE)
        # "@" stands for the NUL of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._file = Path(file) if file else None
        self._release = environment.get(RELEASE, "")
        self._monotonic_s = monotonic_s
        self._ticks, self._next_s, self._ready = 0, -1.0, False

    def tick(self, healthy: bool, why: str = "") -> None:
        """Once for each turn of the loop. The first healthy one tells systemd READY; only healthy ones feed its
        watchdog. Costs nothing in between beats."""
        self._ticks += 1
        if self._monotonic_s() < self._next_s:
            return
        self._next_s = self._monotonic_s() + PERIOD_S
        if healthy:
            self._notify("WATCHDOG=1" if self._ready else "READY=1\nWATCHDOG=1", why)
            self._ready = True
        else:
            self._notify("", why)
        if self._file is not None:
            write_json(self._file, asdict(Health(os.getpid(), self._release, self._ticks, healthy, why)), indent=None)

    def stopping(self) -> None:
        self._notify("STOPPING=1", "")

    def _notify(self, what: str, why: str) -> None:
        lines = [line for line in (what, f"STATUS={why}" if why else "") if line]
        if not self._address or not lines:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            # A manager that is just being restarted must not take the service down; its watchdog will tell.
            speaker.settimeout(0.2)
            try:
                speaker.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return
