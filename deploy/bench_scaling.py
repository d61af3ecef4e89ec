"""How time grows: with the columns computed, the history, the grid and the horizons; and the attention core alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deploy.bench import Clip
from deploy.bench_core import dense_core, gated_core, move_alone, with_history
from deploy.bench_turns import WARM_ROUNDS, TimedGraph, in_turns
from deploy.graphs import Graph
from deploy.pipeline import tick_inputs
from deploy.runtime import OnnxRuntime
from deploy.spec import tick_of
from genie.grid import COLUMNS
from genie.inputs import model_inputs
from genie.model import GenieDrive
from genie.observation import ObservedScene, observe, start_observer

Report = Callable[[str, int, int], None]  # what is timed, rounds done, of how many
HISTORIES = (1, 2, 3, 5, 8)
SIDES = (50, 70, 100)
HORIZONS = (1, 3, 6, 12)
STEP_S = 0.5
ONE_BUCKET = 256  # where one stands for all
MOST_ON_GRIDS = 8  # rounds: the largest core takes seconds
_LOGITS_HELD = 2.2  # times a layer's logits: they and their softmax, and a little


@dataclass(frozen=True)
class GridTimes:
    """what: of which core. side: columns along the grid. rows: columns computed. needs_bytes: of memory; ms is empty
    where this machine had less."""

    what: str
    side: int
    rows: int
    needs_bytes: int
    ms: list[float]


@dataclass(frozen=True)
class Scaling:
    """Milliseconds of each run.

    gate: the gate alone. ticks: the whole tick (inputs copied, gate, bucket) by columns computed, bucket forced.
    core_dense, core: attention cores, the second by columns computed.
    history: core of the dense twin by past frames; history_gated: of the gated form, which has no history length.
    moves: the forecast's move by horizons.
    """

    gate: list[float]
    ticks: dict[int, list[float]]
    core_dense: list[float]
    core: dict[int, list[float]]
    history: dict[int, list[float]]
    history_gated: list[float]
    grid: list[GridTimes]
    moves: dict[int, list[float]]


class _Forced(OnnxRuntime):
    """Computes as many columns as it is told, whatever the gate says; remembers how long the gate took."""

    rows = 0
    gate_ms = 0.0

    def _choose(self) -> str:
        start = time.perf_counter()
        super()._choose()
        self.gate_ms = (time.perf_counter() - start) * 1e3
        return tick_of(self.rows)


def measure_scaling(
    bundle: Path, model: GenieDrive, clip: Clip, folder: Path, *, rounds: int, threads: int, report: Report
) -> Scaling:
    """
    Args:
        bundle: of `model`, gated.
        clip: what the ticks and the move see.
        folder: for graphs; may be deleted afterwards.
        rounds: runs of each graph.
    """
    gate, ticks = bucket_times(bundle, clip, rounds=rounds, threads=threads, report=report)
    buckets = model.config.gate.buckets
    bench = _Bench(folder, rounds, threads, report)
    graphs = [dense_core(model, COLUMNS), *(gated_core(model, k, COLUMNS) for k in buckets)]
    core_dense, *core = bench.times("attention core", graphs)
    histories = [dense_core(with_history(model, frames), COLUMNS) for frames in HISTORIES]
    gated, *history = bench.times("history", [gated_core(model, ONE_BUCKET, COLUMNS), *histories])
    seen = {name: torch.from_numpy(array) for name, array in model_inputs(_last_scene(clip)).items()}
    seconds = [[STEP_S * (h + 1) for h in range(count)] for count in HORIZONS]
    moves = bench.times("move", [move_alone(seen, s, model.config.invented) for s in seconds])
    return Scaling(
        gate=gate,
        ticks=ticks,
        core_dense=core_dense,
        core=dict(zip(buckets, core, strict=True)),
        history=dict(zip(HISTORIES, history, strict=True)),
        history_gated=gated,
        grid=grid_times(model, bench),
        moves=dict(zip(HORIZONS, moves, strict=True)),
    )


@dataclass(frozen=True)
class _Bench:
    folder: Path
    rounds: int
    threads: int
    report: Report

    def times(self, what: str, graphs: list[Graph]) -> list[list[float]]:
        """Of each graph, in turns."""
        timed = {graph.name: TimedGraph(graph, self.folder, self.threads) for graph in graphs}
        done = itertools.count(1)
        rounds = self.rounds + WARM_ROUNDS
        times = in_turns(timed, self.rounds, on_round=lambda: self.report(what, next(done), rounds))
        return [times[graph.name] for graph in graphs]


def bucket_times(
    bundle: Path, clip: Clip, *, rounds: int, threads: int, report: Report
) -> tuple[list[float], dict[int, list[float]]]:
    """The gate's time, and that of the whole tick by columns computed: the buckets take turns along one stream, so that
    each computes on what a stream has left in the state."""
    runtime = _Forced(bundle, threads=threads)
    buckets = runtime.manifest.config.model.gate.buckets
    gate: list[float] = []
    ticks: dict[int, list[float]] = {k: [] for k in buckets}
    observer, total = start_observer(), (WARM_ROUNDS + rounds) * len(buckets)
    for t, k in zip(range(total), itertools.cycle(buckets)):
        scene, observer = observe(clip.stream.frame(t % clip.ticks), observer)
        inputs = tick_inputs(scene, None)
        runtime.rows = k
        start = time.perf_counter()
        runtime.tick(inputs)
        ms = (time.perf_counter() - start) * 1e3
        if t >= WARM_ROUNDS * len(buckets):
            gate.append(runtime.gate_ms)
            ticks[k].append(ms)
        report("buckets", t + 1, total)
    return gate, ticks


def grid_times(model: GenieDrive, bench: _Bench) -> list[GridTimes]:
    """Cores on larger grids: a bucket, a bucket of the same share of columns, and the dense twin with little history
    (with five frames the logits of a layer take 9.6 GB on 100 x 100 columns)."""
    slots, short = model.config.gate.slots, with_history(model, 1)
    wanted = [(f"gated, k = {ONE_BUCKET}", side, ONE_BUCKET, side**2 + slots) for side in SIDES]
    wanted += [("gated, 10 % of the columns", side, side**2 // 10, side**2 + slots) for side in SIDES]
    wanted += [("dense, 1 past frame", side, side**2, 2 * side**2) for side in SIDES]
    bench = replace(bench, rounds=min(bench.rounds, MOST_ON_GRIDS))
    out = []
    for what, side, rows, keys in wanted:
        needs = int(4 * model.config.heads * rows * keys * _LOGITS_HELD)
        ms: list[float] = []
        if needs < free_bytes():
            graph = dense_core(short, side) if what.startswith("dense") else gated_core(model, rows, side)
            (ms,) = bench.times("grid", [graph])  # one by one, for the memory that they take
        out.append(GridTimes(what, side, rows, needs, ms))
    return out


def _last_scene(clip: Clip) -> ObservedScene:
    """After a second, when objects have a measured motion."""
    observer = start_observer()
    for t in range(min(clip.ticks, 10)):
        scene, observer = observe(clip.stream.frame(t), observer)
    return scene


def free_bytes() -> int:
    """Memory that can still be had."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
