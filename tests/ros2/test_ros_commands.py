"""The environment of our ROS 2 processes, the set-up, and what the commands say to bad input."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calib.errors import InputError
from genie.cli import ros_env

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_sourced_ros_is_used_and_our_own_environment_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy")
    monkeypatch.setenv("ROS_DISTRO", "humble")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(["/home/me/ws/install/mine", "/opt/ros/humble"]))
    assert ros_env.find_underlay() == ros_env.RosUnderlay(True, Path("/opt/ros/humble"), "humble")
    assert ros_env.underlay_environment(ros_env.find_underlay()) == dict(os.environ)
    monkeypatch.setenv("AMENT_PREFIX_PATH", sys.prefix)
    assert not ros_env.find_underlay().sourced
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert not ros_env.find_underlay().sourced


def test_without_rclpy_the_error_names_the_python_and_the_sourced_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_env, "find_spec", lambda name: None)
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(InputError, match=r"Python 3\.\d+ has no rclpy"):
        ros_env.find_underlay()
    monkeypatch.setenv("ROS_DISTRO", "humble")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/humble")
    with pytest.raises(InputError, match="ROS 2 humble sourced"):
        ros_env.find_underlay()


def test_a_workspace_that_was_not_built_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    monkeypatch.setenv(ros_env.WORKSPACE_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=f"{tmp_path}.*has not been built"):
        ros_env.ros_environment()


def test_the_prefixes_of_the_wheels_are_rewritten_once(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("setup_ros", REPOSITORY / "tools/setup_ros.py")
    assert spec is not None and spec.loader is not None
    setup_ros: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup_ros)
    old = "/opt/python/cp312-cp312"
    export, other = tmp_path / "std_msgs/cmake/Export.cmake", tmp_path / "other.cmake"
    export.parent.mkdir(parents=True)
    export.write_text(f'"{old}/include/python3.12;{old}/lib/python3.12/site-packages/numpy/_core/include"')
    other.write_text("set(X 1)")
    assert setup_ros.rewrite_prefixes(tmp_path) == 1
    assert export.read_text() == f'"{sysconfig.get_paths()["include"]};{np.get_include()}"'
    assert setup_ros.rewrite_prefixes(tmp_path) == 0
    assert other.read_text() == "set(X 1)"


@pytest.mark.ros
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay", "--dataroot", "{root}", "--scene", "scene-9999"], ["scene-9999", "scene-0001", "to do:"]),
        (["replay", "--dataroot", "{root}/nowhere", "--scene", "scene-0001"], ["nowhere", "expected:"]),
        (["replay", "--dataroot", "{root}", "--scene", "scene-0001"], ["truncated"]),
        (["replay", "--bag", "{root}/nobag"], ["nobag", "no bag there"]),
        (["replay"], ["nothing to play", "--bag"]),
        (["replay", "--bag", "{root}/nobag", "--dataroot", "{root}", "--scene", "s"], ["two things"]),
        (["node", "--params", "{root}/none.yaml"], ["none.yaml", "no such parameter file"]),
        (["node", "--params", "{root}/bad.yaml"], ["bad.yaml", "expected:"]),
        (["node", "--params", "{root}/integer.yaml"], ["publish_rate", "DOUBLE"]),
    ],
)
def test_bad_input_is_named_with_exit_code_2_and_no_traceback(
    arguments: list[str], says: list[str], tmp_path: Path, ros_process_environment: dict[str, str]
) -> None:
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream/scene-0001.npz").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "bad.yaml").write_text("/**:\n  ros__parameters: [1, {\n")
    (tmp_path / "integer.yaml").write_text("/**:\n  ros__parameters:\n    publish_rate: 30\n")
    command = [sys.executable, "-m", "genie.cli.main", *(a.format(root=tmp_path) for a in arguments)]
    result = subprocess.run(
        command, env=ros_process_environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    for word in says:
        assert word in result.stderr


@pytest.mark.ros
@pytest.mark.parametrize("damage", ["missing", "another graph", "no manifest"])
def test_a_node_refuses_a_bundle_that_is_not_whole(
    damage: str, bundle: Path, tmp_path: Path, ros_process_environment: dict[str, str]
) -> None:
    folder = tmp_path / "bundle"
    if damage != "missing":
        shutil.copytree(bundle, folder)
    if damage == "another graph":
        graph = bytearray((folder / "gate.onnx").read_bytes())
        graph[len(graph) // 2] ^= 1
        (folder / "gate.onnx").write_bytes(graph)
    if damage == "no manifest":
        (folder / "manifest.json").unlink()
    command = [sys.executable, "-m", "genie.cli.main", "node", "--bundle", str(folder)]
    result = subprocess.run(
        command, env=ros_process_environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "sha256" in result.stderr if damage == "another graph" else "manifest.json" in result.stderr


@pytest.mark.ros
@pytest.mark.mini
def test_real_keyframes_replay_at_another_rate(mini_root: Path, ros_process_environment: dict[str, str]) -> None:
    options = ["--source", "occ3d", "--scene", "scene-1077", "--rate", "20", "--wait", "0"]
    command = [sys.executable, "-m", "genie.cli.main", "replay", "--dataroot", str(mini_root), *options]
    result = subprocess.run(
        command, env=ros_process_environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "scene-1077: 41 frames" in result.stderr and "published 41 frames" in result.stderr
