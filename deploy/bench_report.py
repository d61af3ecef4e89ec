"""What a benchmark leaves behind: OUT/tick.md to read and OUT/tick.json to compare, with where and how it was run.
Here: what every report says of machine and run, and the report of given bundles; deploy.bench_tables has the variants'.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calib.files import write_json, write_text
from deploy.bench import TOTAL, BundleTimes
from perception.types import GRID

SCHEMA = 2
NOT_MEASURED = ("GPU", "TensorRT", "Jetson Orin")
_VERSIONED = ("geniedrive", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Machine:
    """cores: those this process may use. load: mean number of running programs in the last minute before the run."""

    cpu: str
    cores: int
    os: str
    load: float


@dataclass(frozen=True)
class Run:
    """How the figures came about. command: as it was typed, but for the place of the data. date: ISO 8601, UTC.
    others: cores that other programs kept busy meanwhile, on average; None where the kernel does not tell.
    seconds: that it took, exports included."""

    machine: Machine
    command: str
    date: str
    stream: str
    ticks: int
    threads: int
    others: float | None
    seconds: float


def this_machine() -> Machine:
    system = f"{platform.freedesktop_os_release()['PRETTY_NAME']}, kernel {platform.release()}"
    return Machine(_cpu_model(), len(os.sched_getaffinity(0)), system, round(os.getloadavg()[0], 2))


def _cpu_model() -> str:
    """As Linux names it; ARM kernels name only the architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


class OthersAtWork:
    """How much of the machine other programs take, from now on."""

    def __init__(self) -> None:
        self._began, self._all, self._own = time.monotonic(), _busy_s(), _own_s()

    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self._began, 1)

    def cores(self) -> float | None:
        """Mean number of cores that they kept busy."""
        now = _busy_s()
        if now is None or self._all is None:
            return None
        theirs = (now - self._all) - (_own_s() - self._own)
        return round(max(0.0, theirs / (time.monotonic() - self._began)), 3)


def _busy_s() -> float | None:
    """Of all cores since the start of the machine."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, path.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}}


def write_report(out: Path, run: Run, bundles: Sequence[BundleTimes]) -> None:
    """Writes both files, each whole or not at all."""
    write_json(out / "tick.json", as_tree(run, bundles))
    write_text(out / "tick.md", as_markdown(run, bundles))


def run_tree(run: Run) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **asdict(run),
        "runtime": "ONNX Runtime, CPU",
        "versions": versions(),
        "not_measured": list(NOT_MEASURED),
    }


def times_tree(times: BundleTimes) -> dict[str, Any]:
    return {
        "name": times.name,
        "bundle_id": times.bundle_id,
        "first_ms": times.first_ms,
        "later_ms": {stage: asdict(spread) for stage, spread in times.later_ms.items()},
        "buckets": times.buckets,
        "rollouts_per_s": times.rollouts_per_s,
        "predicted_frames_per_s": times.predicted_frames_per_s,
        "ticks_ms": times.ticks_ms,
    }


def as_tree(run: Run, bundles: Sequence[BundleTimes]) -> dict[str, Any]:
    return {**run_tree(run), "bundles": [times_tree(b) for b in bundles]}


def as_markdown(run: Run, bundles: Sequence[BundleTimes]) -> str:
    grid = "x".join(map(str, GRID.shape))
    times, rates = [], []
    for b in bundles:
        for stage, spread in b.later_ms.items():
            shown = f"**{stage}**" if stage == TOTAL else stage
            cells = (*b.first_ms[stage], spread.median, spread.p95, spread.max)
            times.append(f"| {b.name} | {b.bundle_id} | {shown} | " + " | ".join(f"{ms:.1f}" for ms in cells) + " |")
        rates.append(f"| {b.name} | {b.bundle_id} | {b.rollouts_per_s:.1f} | {b.predicted_frames_per_s:.1f} |")
    return "\n".join(
        [
            "# Time of a tick",
            "",
            f"`Pipeline.step` on ONNX Runtime (CPU, {run.threads} threads), {run.ticks} ticks of the stream "
            f"`{run.stream}` ({grid} voxels), from occupancy to forecast; perception is not in it. "
            f"{'The bundles took turns, tick by tick. ' if len(bundles) > 1 else ''}"
            "Milliseconds, after a warm-up as on the car; the first two ticks of each scene, in which everything is "
            "computed anew, are in no other column.",
            "",
            "| model | bundle | stage | 1st tick | 2nd tick | median | p95 | max |",
            "|---|---|---|---:|---:|---:|---:|---:|",
            *times,
            "",
            f"Converted, from the median total. {ROLLOUT}",
            "",
            "| model | bundle | full rollouts/s | predicted frames/s |",
            "|---|---|---:|---:|",
            *rates,
            "",
            *footer(run),
        ]
    )


ROLLOUT = (
    "A full rollout: one observation encoded, six steps of 0.5 s decoded. Predicted frames count each of the six, as "
    "peers do."
)


def footer(run: Run) -> list[str]:
    """What was not measured; machine, date and command."""
    machine = run.machine
    others = "not known" if run.others is None else f"{run.others:.2f} cores"
    return [
        f"{', '.join(NOT_MEASURED)}: not measured.",
        "",
        "| | |",
        "|---|---|",
        f"| CPU | {machine.cpu}, {machine.cores} cores |",
        f"| OS | {machine.os} |",
        f"| load before the run | {machine.load:.2f} |",
        f"| other programs during the run | {others} |",
        f"| the run took | {run.seconds / 60:.1f} min |",
        f"| date | {run.date} |",
        f"| versions | {', '.join(f'{name} {number}' for name, number in versions().items())} |",
        f"| command | `{run.command}` |",
        "",
    ]
