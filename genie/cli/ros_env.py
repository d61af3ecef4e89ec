"""The one place that knows what environment a ROS 2 process of ours needs.

A dynamic loader reads LD_LIBRARY_PATH when a process starts, so the environment is made here and the process is started
with it (`exec_module`); it cannot be mended from inside.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from calib.errors import InputError

WORKSPACE_VARIABLE = "GENIEDRIVE_ROS_WORKSPACE"
PACKAGES = ("genie_msgs", "genie_ros")


@dataclass(frozen=True)
class RosUnderlay:
    """The ROS 2 below our workspace.

    sourced: True if the user sourced one (its setup.bash); False if it comes as wheels in this Python environment.
    prefix:  the wheels' prefix, or the lowest prefix of the sourced one.
    distro:  e.g. "jazzy".
    """

    sourced: bool
    prefix: Path
    distro: str


def find_underlay() -> RosUnderlay:
    """A sourced ROS 2 if there is one, else the wheels beside this Python. InputError if rclpy is in neither."""
    distro = os.environ.get("ROS_DISTRO", "")
    prefixes = [part for part in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part]
    # Our own environment for the wheels names this Python's prefix: a child of ours has sourced nothing.
    sourced = bool(distro and prefixes) and sys.prefix not in prefixes
    if find_spec("rclpy") is None:
        python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        raise InputError(
            f"{python} has no rclpy, with ROS 2 {distro} sourced" if sourced else f"{python} has no rclpy",
            expected="a sourced ROS 2 of the same Python version, or the ROS 2 wheels of the extra `ros`",
            fix="run `make setup` in a shell where no ROS 2 is sourced, or make .venv with the Python of your ROS 2",
            path=sys.prefix,
        )
    if sourced:
        return RosUnderlay(sourced=True, prefix=Path(prefixes[-1]), distro=distro)
    return RosUnderlay(sourced=False, prefix=Path(sys.prefix), distro="jazzy")


def workspace() -> Path:
    """The colcon workspace: $GENIEDRIVE_ROS_WORKSPACE, or ros2_ws beside the packages of this repository."""
    named = os.environ.get(WORKSPACE_VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[2] / "ros2_ws"


def _prepend(environment: dict[str, str], name: str, paths: list[Path]) -> None:
    old = [part for part in environment.get(name, "").split(os.pathsep) if part]
    new = [str(path) for path in paths if str(path) not in old]
    environment[name] = os.pathsep.join(new + old)


def underlay_environment(underlay: RosUnderlay) -> dict[str, str]:
    """os.environ with what the ROS 2 below our workspace needs, for building and for running."""
    environment = dict(os.environ)
    if underlay.sourced:
        return environment
    prefix = underlay.prefix
    site_packages = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    _prepend(environment, "AMENT_PREFIX_PATH", [prefix])
    _prepend(environment, "CMAKE_PREFIX_PATH", [prefix])
    _prepend(environment, "PATH", [prefix / "bin"])
    _prepend(environment, "LD_LIBRARY_PATH", [prefix / "lib", *sorted(site_packages.glob("ros_*.libs"))])
    environment["ROS_DISTRO"] = underlay.distro
    environment["ROS_VERSION"], environment["ROS_PYTHON_VERSION"] = "2", "3"
    # The wheels restart each Python once to set LD_LIBRARY_PATH; with this it is already right.
    environment["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    return environment


def ros_environment() -> dict[str, str]:
    """The environment of a process that uses rclpy, genie_msgs and genie_ros. InputError if they are not built."""
    underlay = find_underlay()
    environment = underlay_environment(underlay)
    install = workspace() / "install"
    prefixes = [install / package for package in PACKAGES]
    for prefix in prefixes:
        if not prefix.is_dir():
            raise InputError(
                "this ROS 2 package has not been built",
                expected=f"colcon's install folder with {' and '.join(PACKAGES)}",
                fix=f"run `make setup`, or set {WORKSPACE_VARIABLE} to the workspace that holds them",
                path=prefix,
            )
    site_packages = f"python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    _prepend(environment, "AMENT_PREFIX_PATH", prefixes)
    _prepend(environment, "LD_LIBRARY_PATH", [install / "genie_msgs/lib"])
    # In a checkout our Python runs from its sources, so that an edit needs no build.
    sources = [path for path in [workspace() / "src/genie_ros"] if path.is_dir()]
    _prepend(environment, "PYTHONPATH", [*sources, *(prefix / "lib" / site_packages for prefix in prefixes)])
    environment.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    # A forecast is 3.84 MB, the default shared-memory segment 0.5 MB: large messages would leave through UDP and drop.
    profile = install / "genie_ros/share/genie_ros/config/fastdds.xml"
    environment.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
    # numpy's products of matrices are small here, and threads of its own would wait for those of the inference.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    return environment


def exec_module(module: str, arguments: list[str]) -> NoReturn:
    """Becomes `python -m module arguments` with the right environment: signals and exit code are its own."""
    environment = ros_environment()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)
