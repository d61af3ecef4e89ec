"""Fetches the type stubs of TensorRT into .venv/typings, where mypy alone looks. Quick if they are there.

They cannot be in the extra `dev`: the distribution requires TensorRT itself, which is a driver's size and wants a GPU.
Nor may they lie among the packages: their folder `tensorrt` would be taken for an empty module of that name.

.venv/bin/python tools/setup_typings.py
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from calib.files import write_text

# The oldest there is: what type-checks against it is in every later TensorRT 10, and nearest to JetPack 6's 10.3.
STUBS = "tensorrt-stubs==10.8.0.43.1"
# What the generator wrote and no checker can read: parameters named "in", one without a default after others with one,
# and a variable that hides the type "bool".
REPAIRS = (
    (r"^( *def [^\n]*)\bin: ", r"\1in_: "),
    (r"\bchannel_axis: int\)", "channel_axis: int = ...)"),
    (r"^bool: .*", ""),
)


def main() -> None:
    folder = Path(sysconfig.get_paths()["data"]) / "typings"
    if folder.is_dir():
        return
    fresh = folder.with_name("typings.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was stopped
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    subprocess.run([sys.executable, "-m", "pip", *install, "--target", str(fresh), STUBS], check=True)
    for path in fresh.rglob("*.pyi"):
        write_text(path, repaired(path.read_text(encoding="utf-8")))
    fresh.rename(folder)


def repaired(stub: str) -> str:
    for wrong, right in REPAIRS:
        stub = re.sub(wrong, right, stub, flags=re.MULTILINE)
    return stub


if __name__ == "__main__":
    main()
