"""The target's end of a flash: does one step for each line that the host sends, and tells how it went.

Nothing of ours is installed when it starts: the host sends it, with the modules that it imports, as the program of the
target's Python (deploy/flash.py). From `switch` to `confirm` a second process watches this one (deploy/orin/guard.py).
When this one ends unconfirmed, for whatever reason (a step failed, the host is gone, it was killed), that process goes
back to the release before and restarts it.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from calib.errors import CheckFailed, InputError
from calib.files import write_json
from deploy.orin.archive import BLOCK, Index, sha256_file, unpack, verify_folder
from deploy.orin.guard import Guard
from deploy.orin.preflight import preflight, ros_setup_of
from deploy.orin.releases import Releases
from deploy.orin.service import Service, run
from deploy.orin.settings import PROGRAM, Settings

BUILD_S = 3600.0  # of a step that builds
LOCK_S = 60.0
ARCHIVE = "archive.tar"


class Agent:
    """One flash. Its methods that are named as a step return what to tell about it."""

    def __init__(self, settings: Settings, given: IO[bytes]) -> None:
        self._settings, self._given = settings, given
        self._releases = Releases(Path(settings.prefix))
        self._service = Service(self._releases, settings.command, ros_setup_of(settings.ros_setup))
        self._release = settings.release
        self._lock: IO[str] | None = None
        self._guard: Guard | None = None
        self._told: dict[str, str] = {}

    def preflight(self) -> str:
        """Looks, and changes nothing."""
        told = preflight(self._settings, self._releases)
        return f"{told}; current release {self._releases.current() or 'none'}"

    def copy(self) -> str:
        """Takes what is still missing of the archive."""
        self._begin()
        if self._installed() is not None:
            return f"release {self._release} is there already"
        folder = self._releases.partial(self._release)
        folder.mkdir(exist_ok=True)
        archive = folder / ARCHIVE
        archive.touch()
        # The host compares what is there with the beginning of its own.
        have = min(archive.stat().st_size, self._settings.size)
        self._say({"have": have, "sha256": sha256_file(archive, have)})
        start = int(self._hear()["from"])
        with archive.open("r+b") as file:
            file.truncate(start)
            file.seek(start)
            left = self._settings.size - start
            while left:
                block = self._given.read(min(BLOCK, left))
                if not block:
                    raise EOFError("the host is gone")
                file.write(block)
                left -= len(block)
        return f"{self._settings.size - start} of {self._settings.size} bytes to {folder}"

    def unpack(self) -> str:
        """The folder takes its name only when all in it is verified."""
        folder = self._releases.path(self._release)
        index = self._installed()
        if index is None:
            self._releases.discard(folder)  # damaged since
            partial = self._releases.partial(self._release)
            archive, tree = partial / ARCHIVE, partial / "tree"
            found = sha256_file(archive)
            if found != self._settings.sha256:
                self._releases.discard(partial)
                raise CheckFailed(f"the copy has sha256 {found}, not {self._settings.sha256}; flash again")
            self._releases.discard(tree)
            index = unpack(archive, tree)
            found = index.release(self._settings.backend)
            if found != self._release:
                raise CheckFailed(f"the archive is release {found}, not {self._release}")
            os.sync()
            tree.rename(folder)
            self._releases.discard(partial)
        return f"{len(index.files)} files verified, {index.size} bytes, in {folder}"

    def workspace(self) -> str:
        """Builds the ROS 2 messages and node against the target's ROS 2."""
        if self._settings.ros_setup == "none":
            return "skipped: no ROS 2 asked for"
        return self._python(["app/tools/setup_ros.py"]).splitlines()[-1]

    def engines(self) -> str:
        """TensorRT builds for this very device. `deploy.engine build` skips what it built before, unchanged."""
        if self._settings.backend != "trt":
            return f"skipped: backend {self._settings.backend} runs the graphs themselves"
        # What TensorRT timed outlives the release: the next one builds in less.
        timings = self._releases.prefix / "timings"
        timings.mkdir(exist_ok=True)
        return self._python(["-m", "deploy.engine", "build", "bundle", "--timings", str(timings)])

    def golden(self) -> str:
        s = self._settings
        options = ["--backend", s.backend, "--latency-ms", str(s.latency_ms)]
        options += ["--threads", str(s.threads), "--rounds", str(s.rounds)]
        return self._python(["-m", "deploy.orin.check", ".", *options])

    def previous(self) -> str:
        """Chooses where `--rollback` goes to."""
        self._begin()
        current = self._releases.current()
        back_to = None if current is None else self._releases.previous(current)
        if back_to is None:
            raise InputError(
                f"no release before {current or 'the current one, and none is current'}",
                expected="an earlier release that was not pruned",
                fix="flash the bundle that you want",
                path=self._releases.prefix,
            )
        verify_folder(self._releases.path(back_to))
        self._release = back_to
        return f"from {current} to {back_to}"

    def switch(self) -> str:
        folder = self._releases.path(self._release)
        if self._releases.current() == self._release:
            return f"{self._release} is current already"
        if self._settings.release:
            write_json(folder / "flashed.json", {"unix_s": time.time(), **self._told})
        self._guard = Guard(self._service.restart, self._releases.go_back)
        self._releases.switch_on_trial(self._release, forward=bool(self._settings.release))
        return f"{self._releases.current_link} is {self._release}, on trial"

    def restart(self) -> str:
        if self._guard is None:
            return "skipped: nothing changed"
        self._guard.restart()
        return self._settings.command or "systemd unit"

    def health(self) -> str:
        health = self._service.await_healthy(self._release, self._settings.health_timeout_s, self._host_is_gone)
        return f"process {health.pid} goes on, tick {health.ticks}" + (f" ({health.why})" if health.why else "")

    def confirm(self) -> str:
        self._releases.confirm(self._release)
        if self._guard is not None:
            self._guard.confirm()
            self._guard = None
        gone = self._releases.prune(self._settings.keep)
        return f"{self._release} stays" + (f"; removed {', '.join(gone)}" if gone else "")

    def fall_back(self) -> str:
        """After a failed step: lets the second process go back, and sees whether the old release is well."""
        if self._guard is None:
            return "the release that ran before was not touched"
        self._guard.let_go()
        self._guard = None
        current = self._releases.current()
        if current is None:
            return "there is no release to go back to; nothing is current"
        try:
            self._service.await_healthy(current, self._settings.health_timeout_s)
        except CheckFailed as error:
            return f"went back to release {current}, which is {error}"
        return f"went back to release {current}, which is well"

    def _begin(self) -> None:
        """From here on this flash is the only one; what an interrupted one left on trial is taken back."""
        (self._releases.prefix / "releases").mkdir(parents=True, exist_ok=True)
        self._lock = (self._releases.prefix / ".lock").open("w")
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CheckFailed(f"another flash has held {self._releases.prefix} for {LOCK_S:g} s") from None
                time.sleep(0.2)
        if self._releases.on_trial():
            back_to = self._releases.go_back()
            try:
                self._service.restart()
            except CheckFailed as error:  # told, and mended by what is flashed now
                self._told["interrupted flash"] = f"went back to {back_to}, which does not start: {error}"

    def _installed(self) -> Index | None:
        """The index of the release if it is there and whole."""
        try:
            return verify_folder(self._releases.path(self._release))
        except InputError:
            return None

    def _python(self, arguments: list[str]) -> str:
        """Runs the release's own code with the target's Python, from the release's folder, ROS 2 sourced."""
        folder = self._releases.path(self._release)
        script = 'cd "$1" && shift && { [ -z "$ROS_SETUP" ] || source "$ROS_SETUP"; } && exec "$@"'
        environment = {"PYTHONPATH": str(folder / "app"), "ROS_SETUP": self._service.ros_setup}
        command = ["/bin/bash", "-c", script, "bash", str(folder), sys.executable, *arguments]
        return run([command], BUILD_S, environment).strip()

    def _host_is_gone(self) -> bool:
        """The host speaks only when it has its answer: what can be read before is the end of its input."""
        return bool(select.select([self._given], [], [], 0)[0])

    def _say(self, what: dict[str, Any]) -> None:
        print(json.dumps(what), flush=True)

    def _hear(self) -> dict[str, Any]:
        line = self._given.readline()
        if not line:
            raise EOFError("the host is gone")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def serve(self) -> int:
        """Until the host has no more steps, or one fails."""
        self._say({PROGRAM: os.getpid()})
        steps: dict[str, Callable[[], str]] = {
            "preflight": self.preflight,
            "copy": self.copy,
            "unpack": self.unpack,
            "workspace": self.workspace,
            "engines": self.engines,
            "golden": self.golden,
            "previous": self.previous,
            "switch": self.switch,
            "restart": self.restart,
            "health": self.health,
            "confirm": self.confirm,
        }
        while line := self._given.readline():
            step = json.loads(line)["step"]
            try:
                self._told[step] = steps[step]()
                self._say({"step": step, "told": self._told[step]})
            except EOFError:
                return 1
            except InputError as error:
                where = f"{error.path}: " if error.path else ""
                more = {"expected": error.expected, "fix": error.fix}
                self._say({"failed": step, "told": where + error.found, **more, "then": self.fall_back()})
                return 1
            except (CheckFailed, OSError) as error:
                self._say({"failed": step, "told": str(error), "then": self.fall_back()})
                return 1
        return 0


def main(given: IO[bytes]) -> int:
    """given: the host's lines, of which the first holds the settings."""
    return Agent(Settings(**json.loads(given.readline())), given).serve()
