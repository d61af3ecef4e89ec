"""The node of an unpacked release, started as the unit starts it, tells systemd and the health file of its ticks."""

from __future__ import annotations

import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.bundle import pack
from deploy.orin.archive import unpack
from deploy.orin.health import read_health
from deploy.orin.service import TEMPLATE
from genie.cli.ros_env import WORKSPACE_VARIABLE

if TYPE_CHECKING:
    from conftest import Graph

REPOSITORY = Path(__file__).resolve().parents[2]
START = TEMPLATE.with_name("start.sh")


def heard(systemd: socket.socket, graph: Graph) -> bytes:
    """The next datagram; six graphs are loaded and warmed up before the first, beside whatever else runs."""
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and graph.processes["release"].poll() is None:
        with suppress(TimeoutError):
            return systemd.recv(4096)
    pytest.fail(f"the node tells nothing:\n{graph.output('release')}")


@pytest.mark.ros
def test_the_node_of_a_release_is_ready_beats_and_ends(graph: Graph, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "golden.npz").touch()  # the node does not read it
    index = pack(bundle, tmp_path / "golden.npz", tmp_path / "car.tar")
    release = tmp_path / "releases" / index.release("ort")
    unpack(tmp_path / "car.tar", release)
    (tmp_path / "current").symlink_to(release)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(0.5)
        graph.environment |= {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "GENIEDRIVE_HEALTH_FILE": str(tmp_path / "health.json"),
            "GENIEDRIVE_PYTHON": sys.executable,
            WORKSPACE_VARIABLE: str(REPOSITORY / "ros2_ws"),  # built before; on a car it is built in the release
        }
        graph.start("release", ["/bin/bash", str(tmp_path / "current" / START)])
        assert heard(systemd, graph).startswith(b"READY=1\nWATCHDOG=1")
        assert heard(systemd, graph).startswith(b"WATCHDOG=1")
        first = read_health(tmp_path / "health.json")
        time.sleep(0.5)
        second = read_health(tmp_path / "health.json")
        assert first and second and second.ticks > first.ticks and second.healthy and "no_occupancy" in second.why
        assert second.release == index.release("ort") and second.pid == graph.processes["release"].pid
        ended = graph.end("release", signal.SIGTERM)
        assert ended.code == 0, ended.output
        last = b""
        while b"STOPPING" not in last:
            last = systemd.recv(4096)
