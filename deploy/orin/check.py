"""On the target, before a release serves: does its runtime compute what the reference computed, and how fast?

    python -m deploy.orin.check RELEASE [--backend ort|trt] [--latency-ms 100] [--threads 2] [--rounds 5]

RELEASE holds bundle/ and golden.npz. Exit 1 past a limit of the manifest or past the latency gate, 2 for a mistake in
what was given. Needs no torch.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.errors import CheckFailed, InputError
from deploy.golden import GOLDEN_FILE, GoldenTick, Recorded, read_golden
from deploy.graph_runtime import Runtime
from deploy.parity import Check, Comparison, ParityReport, run_tick
from deploy.runtime import open_runtime
from deploy.spec import GATE, Manifest, read_manifest

LATENCY_MS = 100.0  # observations come 10 times a second: each is answered before the next
ROUNDS = 5


@dataclass(frozen=True)
class Latency:
    """Of a tick of the network, its copies to and from the device included, in ms. first: the slowest first tick of a
    stream, which computes all columns; it is apart."""

    first: float
    p50: float
    p99: float
    largest: float
    ticks: int


@dataclass(frozen=True)
class GoldenReport:
    """ran: names of the graphs that the recording led through, by the bucket that was chosen."""

    parity: ParityReport
    latency: Latency
    ran: tuple[str, ...]
    never_ran: tuple[str, ...]

    def checks(self, manifest: Manifest, latency_ms: float) -> list[Check]:
        gate = Check("tick: p99 after the first (ms)", self.latency.p99, latency_ms)
        return [*self.parity.checks(manifest.limits), gate]


def compare_golden(runtime: Runtime, ticks: list[GoldenTick], manifest: Manifest) -> tuple[ParityReport, set[str]]:
    """Each stretch from its recorded start; and which graphs ran."""
    comparison, ran = Comparison(), set[str]()
    runtime.reset()
    for tick in ticks:
        recorded = Recorded(tick)
        expected, found = (run_tick(r, tick.inputs) for r in (recorded, runtime))
        comparison.add(expected, found, tick.truth)
        ran |= _graphs_of(runtime, manifest)
        if tick.state:
            runtime.adopt(recorded)
    return comparison.report(), ran


def measure(runtime: Runtime, ticks: list[GoldenTick], rounds: int = ROUNDS) -> Latency:
    """The recording as one stream, several times. The runtime must have run before: a first run allocates."""
    first: list[float] = []
    later: list[float] = []
    for _ in range(rounds):
        runtime.reset()
        for t, tick in enumerate(ticks):
            start = time.perf_counter()
            runtime.tick(tick.inputs)
            (later if t else first).append((time.perf_counter() - start) * 1e3)
    rest = later or first
    return Latency(max(first), float(np.median(rest)), float(np.percentile(rest, 99)), max(rest), len(rest))


def check(release: Path, runtime: Runtime, rounds: int = ROUNDS) -> GoldenReport:
    """
    Raises:
        InputError: the recording does not fit the bundle.
    """
    manifest = read_manifest(release / "bundle")
    ticks = read_golden(release / GOLDEN_FILE, manifest)
    parity, ran = compare_golden(runtime, ticks, manifest)
    latency = measure(runtime, ticks, rounds)
    return GoldenReport(parity, latency, tuple(sorted(ran)), tuple(sorted(set(manifest.graphs) - ran)))


def _graphs_of(runtime: Runtime, manifest: Manifest) -> set[str]:
    if GATE not in manifest.graphs:
        return set(manifest.graphs)
    return {GATE, *(n for n in manifest.graphs if n.endswith(f"_{runtime.bucket().bucket}"))}


def say(report: GoldenReport, checks: list[Check]) -> None:
    for c in checks:
        print(f"{c.what}: {c.found:.3g} (limit {c.limit:g}) {'ok' if c.passed else 'FAILED'}")
    lat = report.latency
    print(
        f"tick: p50 {lat.p50:.1f} ms, p99 {lat.p99:.1f}, max {lat.largest:.1f} of {lat.ticks}; first {lat.first:.1f}; "
        f"{report.parity.ticks} golden ticks through {', '.join(report.ran)}"
        + (f"; not run: {', '.join(report.never_ran)}" if report.never_ran else "")
    )


def run(arguments: list[str]) -> None:
    """Raises CheckFailed past a limit, InputError for a mistake in what was given."""
    parser = argparse.ArgumentParser(prog="python -m deploy.orin.check", description=__doc__.partition("\n")[0])
    parser.add_argument("release", type=Path)
    parser.add_argument("--backend", default="ort")
    parser.add_argument("--latency-ms", type=float, default=LATENCY_MS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the recording that are timed")
    given = parser.parse_args(arguments)
    report = check(
        given.release, open_runtime(given.release / "bundle", given.backend, threads=given.threads), given.rounds
    )
    checks = report.checks(read_manifest(given.release / "bundle"), given.latency_ms)
    say(report, checks)
    failed = [f"{c.what} {c.found:.3g} > {c.limit:g}" for c in checks if not c.passed]
    if failed:
        raise CheckFailed("; ".join(failed))


def main(arguments: list[str]) -> int:
    try:
        run(arguments)
    except InputError as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    except CheckFailed as error:
        print(f"check failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
