"""What a benchmark leaves behind: OUT/tick.md to read and OUT/tick.json to compare, with where and how it was run."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calib.files import write_json, write_text
from deploy.bench import TOTAL, BundleTimes
from perception.types import GRID

SCHEMA = 1
NOT_MEASURED = ("GPU", "TensorRT", "Jetson Orin")
_VERSIONED = ("geniedrive", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Machine:
    """cores: those this process may use. load: mean number of running programs in the last minute; what others ran
    meanwhile is in the figures, too."""

    cpu: str
    cores: int
    os: str
    load: float


@dataclass(frozen=True)
class Run:
    """How the figures came about. command: as it was typed. date: ISO 8601, UTC. untrained: presets instead of given
    bundles."""

    machine: Machine
    command: str
    date: str
    stream: str
    ticks: int
    threads: int
    untrained: bool


def this_machine() -> Machine:
    system = f"{platform.freedesktop_os_release()['PRETTY_NAME']}, kernel {platform.release()}"
    return Machine(_cpu_model(), len(os.sched_getaffinity(0)), system, round(os.getloadavg()[0], 2))


def _cpu_model() -> str:
    """As Linux names it; ARM kernels name only the architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}}


def write_report(out: Path, run: Run, bundles: Sequence[BundleTimes]) -> None:
    """Writes both files, each whole or not at all."""
    write_json(out / "tick.json", as_tree(run, bundles))
    write_text(out / "tick.md", as_markdown(run, bundles))


def as_tree(run: Run, bundles: Sequence[BundleTimes]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **asdict(run),
        "runtime": "ONNX Runtime, CPU",
        "versions": versions(),
        "not_measured": list(NOT_MEASURED),
        "bundles": [
            {
                "name": b.name,
                "bundle_id": b.bundle_id,
                "first_ms": b.first_ms,
                "later_ms": {stage: asdict(spread) for stage, spread in b.later_ms.items()},
                "rollouts_per_s": b.rollouts_per_s,
                "predicted_frames_per_s": b.predicted_frames_per_s,
                "ticks_ms": b.ticks_ms,
            }
            for b in bundles
        ],
    }


def as_markdown(run: Run, bundles: Sequence[BundleTimes]) -> str:
    grid = "x".join(map(str, GRID.shape))
    times, rates = [], []
    for b in bundles:
        for stage, spread in b.later_ms.items():
            shown = f"**{stage}**" if stage == TOTAL else stage
            cells = (*b.first_ms[stage], spread.median, spread.p95, spread.max)
            times.append(f"| {b.name} | {b.bundle_id} | {shown} | " + " | ".join(f"{ms:.1f}" for ms in cells) + " |")
        rates.append(f"| {b.name} | {b.bundle_id} | {b.rollouts_per_s:.1f} | {b.predicted_frames_per_s:.1f} |")
    weights = (
        " The models are untrained (seed 0); the graph is static, so the weights do not change the work."
        if run.untrained
        else ""
    )
    machine = run.machine
    return "\n".join(
        [
            "# Time of a tick",
            "",
            f"`Pipeline.step` on ONNX Runtime (CPU, {run.threads} threads), {run.ticks} ticks of the stream "
            f"`{run.stream}` ({grid} voxels), from occupancy to forecast; perception is not in it. "
            f"{'The bundles took turns, tick by tick. ' if len(bundles) > 1 else ''}"
            f"Milliseconds; the first two ticks, in which memory is allocated, are in no other column.{weights}",
            "",
            "| model | bundle | stage | 1st tick | 2nd tick | median | p95 | max |",
            "|---|---|---|---:|---:|---:|---:|---:|",
            *times,
            "",
            "Converted, from the median total. A full rollout: one observation encoded, six steps of 0.5 s decoded. "
            "Predicted frames count each of the six, as peers do.",
            "",
            "| model | bundle | full rollouts/s | predicted frames/s |",
            "|---|---|---:|---:|",
            *rates,
            "",
            f"{', '.join(NOT_MEASURED)}: not measured.",
            "",
            "| | |",
            "|---|---|",
            f"| CPU | {machine.cpu}, {machine.cores} cores |",
            f"| OS | {machine.os} |",
            f"| load before the run | {machine.load:.2f} |",
            f"| date | {run.date} |",
            f"| versions | {', '.join(f'{name} {number}' for name, number in versions().items())} |",
            f"| command | `{run.command}` |",
            "",
        ]
    )
