"""The demo's ROS 2 graph: node, replay and recorder as processes, started, watched and ended cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib.errors import CheckFailed
from calib.files import write_text
from genie.cli.ros_env import ros_environment

START_WITHIN_S, END_WITHIN_S = 60.0, 20.0
SPARE_S = (
    3.0  # a replay that is about to end must not be asked to: Python, too, gives up its signal handlers at its end
)
GENIEDRIVE = (sys.executable, "-m", "genie.cli.main")
# The demo judges the rate itself; on a busy machine the node shall go on rather than hold after a second.
NODE_PARAMETERS = "/**:\n  ros__parameters:\n    max_input_age_ms: 3000.0\n"


@dataclass
class Graph:
    """Processes on one ROS domain, each with a log of its own."""

    logs: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)

    def await_word(self, name: str, word: str) -> None:
        """Returns when a process has said a word. CheckFailed, with its last lines, if it ends or is silent."""
        deadline = time.monotonic() + START_WITHIN_S
        while word not in self._said(name):
            ended = self.processes[name].poll() is not None
            if ended or time.monotonic() > deadline:
                why = "ended" if ended else f"was silent for {START_WITHIN_S:.0f} s"
                raise CheckFailed(f"{name} {why} before it said {word!r}:\n{self._said(name)[-2000:]}")
            time.sleep(0.1)

    def wait(self, name: str, seconds: float) -> None:
        """Until the process has ended, at most so long."""
        deadline = time.monotonic() + seconds
        while self.processes[name].poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)

    def end(self, name: str) -> None:
        """Asks for a clean end. CheckFailed if it does not come or is not clean."""
        process = self.processes[name]
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            code = process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{name} did not end within {END_WITHIN_S:.0f} s of SIGINT") from None
        if code != 0:
            raise CheckFailed(f"{name} ended with {code}:\n{self._said(name)[-2000:]}")

    def _said(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")


@contextmanager
def graph(logs: Path) -> Iterator[Graph]:
    """A graph of its own: this machine alone, and a domain that others hardly use unless ROS_DOMAIN_ID names one."""
    logs.mkdir(parents=True, exist_ok=True)
    environment = ros_environment()
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    made = Graph(logs, environment)
    try:
        yield made
    finally:
        for process in made.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


def run_graph(bundle: Path, dataroot: Path, scene: str, source: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Replays a scene to the node for `seconds`, or to its end if that is near, while the recorder listens.

    Returns:
        The recorder's summary; FOLDER/ros.json holds the same, FOLDER/ros.npz the recording.

    Raises:
        InputError: no ROS 2, or it is not built.
        CheckFailed: a process did not start, or did not end cleanly; or too few forecasts arrived.
    """
    logs = folder / "logs"
    with graph(logs) as processes:
        write_text(logs / "node.yaml", NODE_PARAMETERS)
        processes.start("recorder", sys.executable, "-m", "genie_ros.recorder", str(folder))
        processes.await_word("recorder", "listening")
        processes.start("node", *GENIEDRIVE, "node", "--bundle", str(bundle), "--params", str(logs / "node.yaml"))
        processes.await_word("node", "configured: bundle")
        options = ("--dataroot", str(dataroot), "--scene", scene, "--source", source)
        processes.start("replay", *GENIEDRIVE, "replay", *options)
        processes.await_word("replay", scene)
        processes.wait("replay", seconds + SPARE_S)
        # The recorder first, or it would record how the node holds without input.
        for name in ("recorder", "replay", "node"):
            processes.end(name)
    summary = json.loads((folder / "ros.json").read_text(encoding="utf-8"))
    if summary["new_inference_hz"] is None or summary["latency_ms"] is None:
        said = (logs / "node.log").read_text(encoding="utf-8", errors="replace")
        found = f"{summary['new_inferences']} new inferences in {seconds:g} s, too few for a rate"
        raise CheckFailed(f"{found}; the node said:\n{said[-2000:]}")
    return dict(summary)
