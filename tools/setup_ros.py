"""Builds ros2_ws against the ROS 2 at hand: a sourced one, else the wheels of this Python. Quick if nothing changed.

.venv/bin/python tools/setup_ros.py
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from calib.errors import InputError
from calib.files import write_json, write_text
from genie.cli.ros_env import PACKAGES, RosUnderlay, find_underlay, underlay_environment, workspace

# The wheels' CMake files name the Python they were built with.
BUILD_PYTHON = re.compile(r"/opt/python/cp\d+-cp\d+/include/python3\.\d+")
BUILD_NUMPY = re.compile(r"/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/_core/include")


def rewrite_prefixes(share: Path) -> int:
    """Puts this Python's include folders into the wheels' CMake files; returns how many files changed."""
    import numpy as np

    changed = 0
    for path in share.rglob("*.cmake"):
        text = path.read_text(encoding="utf-8")
        if "/opt/python/" not in text:
            continue
        rewritten = BUILD_NUMPY.sub(np.get_include(), BUILD_PYTHON.sub(sysconfig.get_paths()["include"], text))
        if rewritten != text:
            write_text(path, rewritten)
            changed += 1
    return changed


def fingerprint(underlay: RosUnderlay, source: Path) -> dict[str, str]:
    """What the build depends on: `environment` (a change rebuilds from nothing) and `sources` (a change rebuilds)."""
    wheels = sorted(
        f"{entry.name} {entry.stat().st_mtime_ns}"
        for entry in Path(sysconfig.get_paths()["purelib"]).glob("ros_*.dist-info")
    )
    environment = [sys.version, sys.prefix, repr(underlay), str(source), *([] if underlay.sourced else wheels)]
    sources = hashlib.sha256()
    for path in sorted(p for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        sources.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes())
    return {
        "environment": hashlib.sha256("\n".join(environment).encode()).hexdigest(),
        "sources": sources.hexdigest(),
    }


def build(underlay: RosUnderlay, folder: Path) -> None:
    """colcon build of our packages; raises InputError with colcon's last lines if it fails."""
    environment = underlay_environment(underlay)
    arguments = ["--cmake-args", "-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    if underlay.sourced:
        # A sourced ROS 2 brings its own Python tools; those of a virtual environment would shadow them.
        own = str(Path(sys.prefix) / "bin")
        environment["PATH"] = os.pathsep.join(p for p in environment["PATH"].split(os.pathsep) if p != own)
    else:
        arguments.append(f"-DPython3_EXECUTABLE={sys.executable}")
    colcon = shutil.which("colcon", path=environment["PATH"])
    if colcon is None:
        raise InputError("no colcon", expected="colcon on the PATH", fix="install python3-colcon-common-extensions")
    command = [colcon, "--log-base", "log", "build", "--base-paths", "src", "--packages-select", *PACKAGES, *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise InputError(
            f"colcon build failed:\n{(result.stdout + result.stderr)[-4000:]}",
            expected="a C and a C++ compiler, cmake, and a complete ROS 2",
            fix="mend what the lines above name, then run this again; details in the log folder",
            path=folder / "log",
        )


def main() -> int:
    underlay, folder = find_underlay(), workspace()
    stamp = folder / "install" / "geniedrive-build.json"
    wanted = fingerprint(underlay, folder / "src")
    built = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}
    if built == wanted:
        print(f"ROS 2 workspace: up to date ({underlay.distro})")
        return 0
    if built.get("environment") != wanted["environment"]:
        for name in ("build", "install"):
            shutil.rmtree(folder / name, ignore_errors=True)
    if not underlay.sourced:
        changed = rewrite_prefixes(underlay.prefix / "share")
        print(f"ROS 2 wheels: {changed} CMake files now name this Python")
    print(f"ROS 2 workspace: building {', '.join(PACKAGES)} against {underlay.distro} in {underlay.prefix}", flush=True)
    build(underlay, folder)
    write_json(stamp, wanted)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"setup_ros: {error}", file=sys.stderr)
        sys.exit(2)
