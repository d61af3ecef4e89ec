"""A ROS 2 graph of real processes: the environment, the start and the end of each."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from calib.errors import InputError
from genie.cli.ros_env import find_underlay, ros_environment

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Ended:
    code: int
    seconds: float
    output: str


@dataclass
class Graph:
    """Processes on one ROS domain; `end` asks for a clean exit, whoever is left at the end of the test is killed."""

    environment: dict[str, str]
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def await_output(self, name: str, text: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.output(name):
            if self.processes[name].poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{name} never said {text!r}:\n{self.output(name)}")
            time.sleep(0.05)

    def wait(self, name: str, timeout_s: float = 40.0) -> Ended:
        start = time.monotonic()
        code = self.processes.pop(name).wait(timeout_s)
        return Ended(code, time.monotonic() - start, self.output(name))

    def end(self, name: str, how: signal.Signals = signal.SIGINT) -> Ended:
        self.processes[name].send_signal(how)
        return self.wait(name, 20.0)

    def kill_all(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.processes.clear()


@pytest.fixture(scope="session")
def ros_process_environment() -> dict[str, str]:
    """Builds ros2_ws if it has changed; skips where there is no ROS 2 (fails in CI)."""
    try:
        find_underlay()
    except InputError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    subprocess.run([sys.executable, str(REPOSITORY / "tools/setup_ros.py")], check=True, timeout=200)
    environment = ros_environment()
    environment["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    environment["OMP_NUM_THREADS"] = "1"
    return environment


@pytest.fixture(scope="module")
def graph(ros_process_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    graph = Graph(ros_process_environment, tmp_path_factory.mktemp("graph"))
    yield graph
    graph.kill_all()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real export of the tiny model. Its weights are those of the start of training: nothing here judges accuracy."""
    import torch

    from deploy.export import export
    from genie.config import load_config
    from genie.model import GenieDrive
    from genie.training.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("export")
    config = load_config("tiny")
    torch.manual_seed(0)
    save_checkpoint(folder / "model.safetensors", GenieDrive(config.model), config, step=0)
    return export(folder / "model.safetensors", folder / "bundle").folder
