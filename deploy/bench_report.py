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
from deploy.bench_hardware import Clock, Hardware
from deploy.runtime import BACKENDS
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
    seconds: that it took, exports included. backend: one of deploy.runtime.BACKENDS. hardware: at the end of the run.
    """

    machine: Machine
    command: str
    date: str
    stream: str
    ticks: int
    threads: int
    others: float | None
    seconds: float
    backend: str = "ort"
    hardware: Hardware | None = None

    @property
    def not_measured(self) -> tuple[str, ...]:
        """What this run says nothing of."""
        if self.backend == "ort":
            return NOT_MEASURED
        accelerator = (self.hardware.accelerator if self.hardware else None) or ""
        return () if "Orin" in accelerator else NOT_MEASURED[2:]


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


def write_report(out: Path, run: Run, bundles: Sequence[BundleTimes], baseline: BundleTimes | None = None) -> None:
    """Writes both files, each whole or not at all. baseline: one of `bundles`, which the others are compared with."""
    write_json(out / "tick.json", as_tree(run, bundles, baseline))
    write_text(out / "tick.md", as_markdown(run, bundles, baseline))


def run_tree(run: Run) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **asdict(run),
        "runtime": BACKENDS[run.backend],
        "versions": versions(),
        "not_measured": list(run.not_measured),
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


def as_tree(run: Run, bundles: Sequence[BundleTimes], baseline: BundleTimes | None = None) -> dict[str, Any]:
    rows = [{**times_tree(b), **_against(b, baseline)} for b in bundles]
    return {**run_tree(run), "bundles": rows}


def _against(times: BundleTimes, baseline: BundleTimes | None) -> dict[str, float]:
    return {} if baseline is None else {"speed_up_to_baseline": speed_up(times, baseline)}


def speed_up(times: BundleTimes, baseline: BundleTimes) -> float:
    """Of the median totals."""
    return baseline.later_ms[TOTAL].median / times.later_ms[TOTAL].median


def as_markdown(run: Run, bundles: Sequence[BundleTimes], baseline: BundleTimes | None = None) -> str:
    grid = "x".join(map(str, GRID.shape))
    times, rates, buckets = [], [], []
    for b in bundles:
        name = f"{b.name} (baseline)" if b is baseline else b.name
        times += stage_rows(b, name)
        against = "" if baseline is None else f"{speed_up(b, baseline):.2f}x"
        row = f"| {name} | {b.bundle_id} | {b.rollouts_per_s:.1f} | {b.predicted_frames_per_s:.1f} | {against} |"
        rates.append(row)
        ticks = ", ".join(f"{k}: {count}" for k, count in b.buckets.items()) if any(b.rows) else "all, always"
        buckets.append(f"| {name} | {b.bundle_id} | {ticks} |")
    threads = f", {run.threads} threads" if run.backend == "ort" else ""
    return "\n".join(
        [
            "# Time of a tick",
            "",
            f"`Pipeline.step` on {BACKENDS[run.backend]}{threads}; {run.ticks} ticks of the stream "
            f"`{run.stream}` ({grid} voxels), from occupancy to forecast; perception is not in it. "
            f"{'The bundles took turns, tick by tick. ' if len(bundles) > 1 else ''}"
            "Milliseconds, after a warm-up as on the car; the first two ticks of each scene, in which everything is "
            "computed anew, are in no other column.",
            "",
            "| model | bundle | stage | 1st tick | 2nd tick | median | p95 | p99 | max |",
            "|---|---|---|---:|---:|---:|---:|---:|---:|",
            *times,
            "",
            f"Converted, from the median total. {ROLLOUT}",
            "",
            "| model | bundle | full rollouts/s | predicted frames/s | faster than the baseline |",
            "|---|---|---:|---:|---:|",
            *rates,
            "",
            "Columns computed, and in how many ticks:",
            "",
            "| model | bundle | columns: ticks |",
            "|---|---|---|",
            *buckets,
            "",
            *footer(run),
        ]
    )


def stage_rows(times: BundleTimes, name: str) -> list[str]:
    """Of a table: name, bundle, stage, the first two ticks, median, p95, p99, max."""
    rows = []
    for stage, spread in times.later_ms.items():
        shown = f"**{stage}**" if stage == TOTAL else stage
        cells = (*times.first_ms[stage], spread.median, spread.p95, spread.p99, spread.max)
        rows.append(f"| {name} | {times.bundle_id} | {shown} | " + " | ".join(f"{ms:.1f}" for ms in cells) + " |")
    return rows


ROLLOUT = (
    "A full rollout: one observation encoded, six steps of 0.5 s decoded. Predicted frames count each of the six, as "
    "peers do."
)


def footer(run: Run) -> list[str]:
    """What was not measured; machine, date and command."""
    machine = run.machine
    others = "not known" if run.others is None else f"{run.others:.2f} cores"
    return [
        f"{', '.join(run.not_measured)}: not measured." if run.not_measured else "",
        "",
        "| | |",
        "|---|---|",
        f"| CPU | {machine.cpu}, {machine.cores} cores |",
        f"| OS | {machine.os} |",
        *(_hardware_rows(run.hardware) if run.hardware else []),
        f"| load before the run | {machine.load:.2f} |",
        f"| other programs during the run | {others} |",
        f"| the run took | {run.seconds / 60:.1f} min |",
        f"| date | {run.date} |",
        f"| versions | {', '.join(f'{name} {number}' for name, number in versions().items())} |",
        f"| command | `{run.command}` |",
        "",
    ]


def _hardware_rows(hardware: Hardware) -> list[str]:
    """What the machine does not tell is left out."""
    told = {
        "GPU": hardware.accelerator,
        "power mode": hardware.mode,
        "CPU clock": _clock(hardware.cpu, hardware.governor),
        "GPU clock": _clock(hardware.gpu, None),
        "memory clock": None if hardware.emc_mhz is None else f"{hardware.emc_mhz:.0f} MHz",
        "temperatures": ", ".join(f"{zone} {degrees:.0f}" for zone, degrees in hardware.celsius.items()) or None,
        "most memory of the process": f"{hardware.peak_ram_mb:.0f} MB",
        "used memory of the GPU": None if hardware.gpu_used_mb is None else f"{hardware.gpu_used_mb:.0f} MB",
    }
    return [f"| {name} | {value} |" for name, value in told.items() if value is not None]


def _clock(clock: Clock, governor: str | None) -> str | None:
    if clock.now is None:
        return None
    bounds = "" if clock.least is None else f", between {clock.least:.0f} and {clock.most:.0f}"
    return f"{clock.now:.0f} MHz{bounds}{f', {governor}' if governor else ''}"
