"""An export becomes one file for the car: graphs, recorded ticks, and the code that runs there.

The code goes as sources, so that the target needs no pip and no wheel of ours: PYTHONPATH is RELEASE/app. What trains
and evaluates stays here, and so do weights that are in the graphs already.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from calib.errors import CheckFailed, InputError
from deploy.bundle_files import verify_bundle
from deploy.golden import GOLDEN_FILE, read_golden, record
from deploy.graph_runtime import Runtime
from deploy.orin.archive import Index, write_archive
from deploy.orin.check import compare_golden
from deploy.runtime import OnnxRuntime
from deploy.spec import MANIFEST_FILE

if TYPE_CHECKING:
    from deploy.parity_stream import GivenTick

# Folders of the repository whose files the car runs, with the endings that are taken.
CODE = {
    "calib": (".py",),
    "perception": (".py",),
    "genie": (".py", ".yaml"),
    "deploy": (".py", ".service", ".sh", ".Dockerfile"),
    "ros2_ws/src": (".py", ".xml", ".cfg", ".yaml", ".msg", ".txt", ".rviz", ""),
}
BUILDER = "tools/setup_ros.py"  # builds the ROS 2 workspace on the target
NOT_ON_THE_CAR = ("genie/training", "genie/evaluation", "genie/data/synth", "ros2_ws/src/genie_ros/test")
REPOSITORY = Path(__file__).resolve().parents[1]


def write_bundle(
    export: Path, out: Path, reference: Runtime, given: Iterable[GivenTick], ticks: int, *, threads: int = 2
) -> Index:
    """Packs the export with its golden file, which ONNX Runtime must reproduce here before anything is written.

    Args:
        reference: what the export was made from, in PyTorch; its outputs are the golden ones.
        given: `ticks` ticks of a stream.

    Raises:
        InputError: the export is not whole, or this is not a checkout of the project.
        CheckFailed: the export itself does not compute what the reference does.
    """
    manifest = verify_bundle(export)
    with tempfile.TemporaryDirectory() as folder:
        golden = Path(folder) / GOLDEN_FILE
        record(golden, reference, given, ticks, manifest)
        report, _ = compare_golden(OnnxRuntime(export, threads=threads), read_golden(golden, manifest), manifest)
        failed = [f"{c.what} {c.found:.3g} > {c.limit:g}" for c in report.checks(manifest.limits) if not c.passed]
        if failed:
            raise CheckFailed("nothing was packed, ONNX Runtime does not compute the same: " + "; ".join(failed))
        return pack(export, golden, out)


def pack(export: Path, golden: Path, out: Path) -> Index:
    """Writes the archive of an export and its golden file.

    Raises:
        InputError: a file is missing.
    """
    manifest = verify_bundle(export)
    sources = {f"bundle/{name}": export / name for name in [MANIFEST_FILE, *(g.file for g in manifest.graphs.values())]}
    sources |= {GOLDEN_FILE: golden} | code_files(REPOSITORY)
    return write_archive(out, sources, model=manifest.bundle_id, version=version("geniedrive"))


def code_files(repository: Path) -> dict[str, Path]:
    """By name in the archive.

    Raises:
        InputError: not a checkout.
    """
    found = {f"app/{BUILDER}": repository / BUILDER}
    for folder, endings in CODE.items():
        root = repository / folder
        if not root.is_dir():
            raise InputError(
                "not there", expected="a checkout of the project, ROS 2 workspace included", fix="run it from a clone",
                path=root,
            )  # fmt: skip
        for path in root.rglob("*"):
            name = path.relative_to(repository).as_posix()
            wanted = path.suffix in endings and "__pycache__" not in path.parts and path.is_file()
            if wanted and not name.startswith(tuple(f"{skipped}/" for skipped in NOT_ON_THE_CAR)):
                found[f"app/{name}"] = path
    return found
