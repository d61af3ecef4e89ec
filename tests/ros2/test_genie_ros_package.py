"""The tests inside the ROS 2 package, run as colcon would: in a process with the environment of ROS 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "ros2_ws/src/genie_ros"


@pytest.mark.ros
def test_the_package_tests_pass(ros_process_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "test"]
    result = subprocess.run(
        command, cwd=PACKAGE, env=ros_process_environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipped" not in result.stdout
