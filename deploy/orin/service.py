"""Restarts what serves `current` and sees whether it is well: a systemd unit, or a command where no systemd runs."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.errors import CheckFailed
from deploy.orin.health import HEALTH_FILE, Health, read_health
from deploy.orin.releases import Releases

UNIT = "geniedrive.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT
SYSTEMD = Path("/run/systemd/system")  # there where systemd runs the machine
TEMPLATE = Path("app/deploy/orin") / UNIT
RESTART_S = 240.0
POLL_S = 0.1


@dataclass(frozen=True)
class Service:
    """command: restarts what serves PREFIX/current, and only stops it where that link is gone; in a shell, with
    GENIEDRIVE_PREFIX, _PYTHON, _ROS_SETUP and _HEALTH_FILE set. "": the systemd unit.
    ros_setup: setup.bash of the ROS 2 to source, or ""."""

    releases: Releases
    command: str
    ros_setup: str

    @property
    def health_file(self) -> Path:
        return self.releases.prefix / "run/health.json" if self.command else Path("/run/geniedrive/health.json")

    def restart(self) -> None:
        """Starts the current release in place of the running one; without a current one it only stops.

        Raises:
            CheckFailed: the command fails, or the unit does not come up.
        """
        if self.command:
            self.health_file.parent.mkdir(exist_ok=True)
            self.health_file.unlink(missing_ok=True)  # what the process before told
            run([["/bin/sh", "-c", self.command]], RESTART_S, self._environment())
        elif self.releases.current() is None:
            run([[*sudo(), "systemctl", "stop", UNIT]], RESTART_S)
        else:
            self._write_unit()
            # A failed start before this one must not count against it.
            run([[*sudo(), "systemctl", "reset-failed", UNIT]], RESTART_S, check=False)
            run([[*sudo(), "systemctl", "enable", UNIT], [*sudo(), "systemctl", "restart", UNIT]], RESTART_S)

    def await_healthy(self, release: str, timeout_s: float, gone: Callable[[], bool] = lambda: False) -> Health:
        """Waits until the process of that release says twice that it is well, and has gone on in between.

        Raises:
            CheckFailed: it does not within the time.
            EOFError: whoever wants to know is `gone`.
        """
        deadline, first = time.monotonic() + timeout_s, None
        health = None
        while time.monotonic() < deadline:
            health = read_health(self.health_file)
            if health is not None and health.healthy and health.release == release and health.alive():
                if first is not None and first.pid == health.pid and health.ticks > first.ticks:
                    return health
                first = first if first is not None and first.pid == health.pid else health
            else:
                first = None
            if gone():
                raise EOFError("nobody waits for the health any more")
            time.sleep(POLL_S)
        raise CheckFailed(f"not healthy within {timeout_s:g} s: {_why(health, release)}")

    def unit_text(self, release: str) -> str:
        """The unit as that release wants it."""
        text = (self.releases.path(release) / TEMPLATE).read_text(encoding="utf-8")
        values = {
            "USER": pwd.getpwuid(os.getuid()).pw_name,
            "PREFIX": str(self.releases.prefix),
            "PYTHON": sys.executable,
            "ROS_SETUP": self.ros_setup,
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text

    def _write_unit(self) -> None:
        current = self.releases.current()
        assert current is not None  # asked by the caller
        text = self.unit_text(current)
        if UNIT_FILE.is_file() and UNIT_FILE.read_text(encoding="utf-8") == text:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".service") as file:
            file.write(text)
            file.flush()
            install = [*sudo(), "install", "-m", "644", file.name, str(UNIT_FILE)]
            run([install, [*sudo(), "systemctl", "daemon-reload"]], RESTART_S)

    def _environment(self) -> dict[str, str]:
        return {
            "GENIEDRIVE_PREFIX": str(self.releases.prefix),
            "GENIEDRIVE_PYTHON": sys.executable,
            "GENIEDRIVE_ROS_SETUP": self.ros_setup,
            HEALTH_FILE: str(self.health_file),
        }


def sudo() -> list[str]:
    """What makes a command root's; it never asks for a password."""
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def run(
    commands: list[list[str]], timeout_s: float, environment: dict[str, str] | None = None, *, check: bool = True
) -> str:
    """One after the other; returns what they said. Output goes through a file: a service that was started in the
    background may hold on to it.

    Raises:
        CheckFailed: one fails or takes too long; with its last words.
    """
    with tempfile.TemporaryFile() as said:
        for command in commands:
            try:
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    timeout=timeout_s,
                    check=False,
                ).returncode
            except (subprocess.TimeoutExpired, OSError) as error:
                raise CheckFailed(f"`{' '.join(command)}`: {error}") from error
            if check and code != 0:
                said.seek(0)
                raise CheckFailed(f"`{' '.join(command)}` ended with {code}:\n{_tail(said.read())}")
        said.seek(0)
        return said.read().decode(errors="replace")


def _tail(said: bytes) -> str:
    return said.decode(errors="replace").strip()[-3000:]


def _why(health: Health | None, release: str) -> str:
    if health is None:
        return "it tells nothing"
    if health.release != release:
        return f"release {health.release or 'none'} is what runs"
    if not health.alive():
        return f"process {health.pid} has ended ({health.why or 'no reason told'})"
    return f"process {health.pid} at tick {health.ticks}: {health.why or 'no progress'}"
