"""The tests inside the ROS 2 packages, run by `colcon test` against what `make setup` built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

WORKSPACE = Path(__file__).resolve().parents[2] / "ros2_ws"


@pytest.mark.ros
def test_colcon_test_passes(ros_process_environment: dict[str, str]) -> None:
    environment = dict(ros_process_environment)
    # As a user of the workspace has it: colcon's pytest is that of this Python.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    colcon = shutil.which("colcon", path=environment["PATH"])
    assert colcon is not None
    results = WORKSPACE / "build/genie_ros/pytest.xml"
    results.unlink(missing_ok=True)
    command = [
        colcon, "--log-base", "log", "test", "--base-paths", "src", "--packages-select", "genie_msgs", "genie_ros",
        "--return-code-on-test-failure", "--event-handlers", "console_direct+",
        "--pytest-args", "-p", "no:cacheprovider", "--import-mode=importlib",
    ]  # fmt: skip
    result = subprocess.run(
        command, cwd=WORKSPACE, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    suite = xml.etree.ElementTree.parse(results).getroot()[0]
    ran, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    assert ran > 40 and skipped == 0, suite.attrib
    print(next((line for line in result.stdout.splitlines() if "seven steps" in line), ""))
