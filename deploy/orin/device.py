"""What the target is: read, never set. The power mode in particular is the user's choice; it is recorded beside every
timing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
PACKAGES = ("numpy", "yaml", "cv2", "onnxruntime", "rich", "typer")  # what the car's part of the project imports
PYTHONS = ((3, 10), (3, 13))  # from, below
_SM_OF_CHIP = {"tegra234": "8.7"}  # Orin
ROOT = Path("/")


@dataclass(frozen=True)
class Device:
    """l4t: release of Jetson Linux, e.g. 36.4.3. sm: compute capability. tensorrt: of the Python package. power_mode:
    what `nvpmodel -q` says. ros: distributions under /opt/ros. Each "unknown", "" or empty where there is none."""

    model: str
    machine: str
    l4t: str
    sm: str
    tensorrt: str
    power_mode: str
    python: str
    missing_packages: tuple[str, ...]
    ros: tuple[str, ...]
    rclpy: bool
    free_bytes: int

    def line(self) -> str:
        """For people."""
        ros = ", ".join(self.ros) or ("wheels" if self.rclpy else "none")
        return (
            f"{self.model}, {self.machine}, SM {self.sm}, L4T {self.l4t}, TensorRT {self.tensorrt}, power mode "
            f"{self.power_mode}, Python {self.python}, ROS 2 {ros}, {self.free_bytes / 1e9:.1f} GB free"
        )


def read_device(prefix: Path, root: Path = ROOT) -> Device:
    """Looks without changing anything. `prefix` need not exist: the disk that it would lie on counts."""
    tree = root / "proc/device-tree"
    return Device(
        model=_text(tree / "model") or UNKNOWN,
        machine=platform.machine(),
        l4t=l4t_of(_text(root / "etc/nv_tegra_release")),
        sm=sm_of(_text(tree / "compatible")),
        tensorrt=_version("tensorrt"),
        power_mode=_power_mode(),
        python=platform.python_version(),
        missing_packages=tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None),
        ros=tuple(sorted(path.parent.name for path in (root / "opt/ros").glob("*/setup.bash"))),
        rclpy=importlib.util.find_spec("rclpy") is not None,
        free_bytes=shutil.disk_usage(existing(prefix)).free,
    )


def l4t_of(text: str) -> str:
    """36.4.3 of "# R36 (release), REVISION: 4.3, GCID: ..."."""
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else UNKNOWN


def sm_of(compatible: str) -> str:
    """Of the device tree's `compatible`, e.g. "nvidia,p3737-0000+p3701-0005 nvidia,tegra234"."""
    return next((sm for chip, sm in _SM_OF_CHIP.items() if f"nvidia,{chip}" in compatible.split()), UNKNOWN)


def supported_python() -> bool:
    return PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.parents) if p.exists())


def writable(prefix: Path) -> bool:
    return os.access(existing(prefix), os.W_OK | os.X_OK)


def _text(path: Path) -> str:
    """Strings of a device tree end with NUL, and NUL separates several."""
    return path.read_text(encoding="utf-8", errors="replace").replace("\0", " ").strip() if path.is_file() else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN


def _power_mode() -> str:
    tool = shutil.which("nvpmodel", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if tool is None:
        return UNKNOWN
    done = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return found[1] if found else UNKNOWN
