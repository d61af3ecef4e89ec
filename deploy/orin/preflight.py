"""What must be true of the target before anything is copied there."""

from __future__ import annotations

import sys
from pathlib import Path

from calib.errors import CheckFailed, InputError
from deploy.orin.device import PYTHONS, UNKNOWN, Device, existing, read_device, supported_python, writable
from deploy.orin.releases import Releases
from deploy.orin.service import SYSTEMD, run, sudo
from deploy.orin.settings import Settings

ROS = Path("/opt/ros")
ROOM = 3.0  # times the archive: itself, unpacked, and what is built from it


def preflight(settings: Settings, releases: Releases) -> str:
    """A line about the device.

    Raises:
        InputError: the target cannot take the release; the first reason, with what to do.
    """
    device = read_device(releases.prefix)
    for found, expected, fix in problems(settings, releases, device):
        raise InputError(found, expected=expected, fix=fix, path=releases.prefix)
    return device.line()


def problems(settings: Settings, releases: Releases, device: Device) -> list[tuple[str, str, str]]:
    """All that is wrong: what was found, what is expected, what to do."""
    out: list[tuple[str, str, str]] = []
    if not supported_python():
        oldest, newest = PYTHONS[0][1], PYTHONS[1][1] - 1
        expected = f"Python 3.{oldest} to 3.{newest}"
        out.append((f"Python {device.python} at {sys.executable}", expected, "name another with --python"))
    if device.missing_packages:
        missing = ", ".join(device.missing_packages)
        out.append((f"{sys.executable} lacks {missing}", "the packages of the car", f"there: pip install {missing}"))
    if not writable(releases.prefix):
        fix = f"there, once: sudo install -d -o $USER {releases.prefix}"
        out.append((f"{existing(releases.prefix)} cannot be written", "a prefix of the user's", fix))
    needed = int(ROOM * settings.size)
    if device.free_bytes < needed:
        found = f"{device.free_bytes / 1e6:.0f} MB free"
        out.append(
            (found, f"{needed / 1e6:.0f} MB, {ROOM:g} times the bundle", "make room, or choose another --prefix")
        )
    if settings.backend == "trt" and (device.tensorrt, device.sm).count(UNKNOWN):
        found = f"TensorRT {device.tensorrt}, SM {device.sm}"
        out.append(
            (found, "a Jetson Orin with TensorRT in this Python", "install JetPack, or flash with --backend ort")
        )
    if settings.ros_setup == "auto" and not device.rclpy and len(device.ros) != 1:
        found = f"ROS 2 {', '.join(device.ros) or 'nowhere'} under {ROS}"
        out.append((found, "exactly one", "name its setup.bash with --ros-setup, or `--ros-setup none`"))
    if not settings.command:
        out += _service_problems()
    return out


def ros_setup_of(asked: str) -> str:
    """The setup.bash to source: the one that was named, or with "auto" the only one under /opt/ros; else ""."""
    if asked != "auto":
        return "" if asked == "none" else asked
    found = sorted(str(path) for path in ROS.glob("*/setup.bash"))
    return found[0] if len(found) == 1 else ""


def _service_problems() -> list[tuple[str, str, str]]:
    if not SYSTEMD.is_dir():
        return [("systemd does not run there", "systemd", "say with --restart-command what restarts the service")]
    try:
        run([[*sudo(), "true"]], 20.0)
    except CheckFailed as error:
        fix = "flash as root, or let this user run sudo without a password"
        return [(str(error), "a user who may restart the unit", fix)]
    return []
