"""Figures of a comparison, with matplotlib's objects and none of its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.files import atomic_path
from deploy.bench import APART, TICK, TOTAL, BundleTimes, spread
from deploy.bench_results import Measured
from deploy.bench_scaling import ONE_BUCKET, GridTimes

Corner = Literal["upper left", "center left"]
INK, DENSE_COLOUR, GATED_COLOUR, THIRD = "#222831", "#8a8f98", "#1f64d2", "#d2691f"


def write_figure(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def variants_figure(m: Measured) -> Figure:
    """Median and p95 of the full tick, all variants in turns over the same frames; the dense twin above."""
    results = m.variants[::-1]
    figure = Figure(figsize=(9.0, 0.55 * len(results) + 1.3), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    medians = [r.tick_ms for r in results]
    p95 = [r.times.later_ms[TICK].p95 for r in results]
    colours = [DENSE_COLOUR if r is m.dense else GATED_COLOUR if r is m.gated else "#9db8e4" for r in results]
    axes.barh(range(len(results)), medians, color=colours)
    axes.hlines(range(len(results)), medians, p95, color=INK, lw=1.2)
    for y, (ms, far) in enumerate(zip(medians, p95, strict=True)):
        axes.text(
            max(ms, far) * 1.04, y, f"{ms:.1f} ms, {m.dense.tick_ms / ms:.1f}x", va="center", fontsize=9, color=INK
        )
    axes.set_yticks(range(len(results)), [r.variant.title for r in results])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(min(medians) / 2, max(p95) * 3)
    axes.set_xlabel("full tick, ms: bar to the median, line to p95; times faster than the dense twin")
    _tidy(axes)
    return figure


def times_figure(bundles: Sequence[BundleTimes]) -> Figure:
    """Left: every whole tick in order, a scene's first two as rings. Right: columns computed, in how many ticks."""
    figure = Figure(figsize=(11.0, 4.2), facecolor="white", layout="constrained")
    times, counts = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    sizes = sorted({k for b in bundles for k in b.buckets})
    for i, b in enumerate(bundles):
        colour = (GATED_COLOUR, DENSE_COLOUR, THIRD)[i % 3]
        ms, apart = b.ticks_ms[TOTAL], [s + t for s in b.starts for t in range(APART)]
        times.plot(ms, color=colour, lw=1.0, label=f"{b.name} {b.bundle_id}, median {b.later_ms[TOTAL].median:.1f} ms")
        times.plot(apart, [ms[t] for t in apart], color=colour, marker="o", mfc="none", ls="")
        width = 0.8 / len(bundles)
        counts.bar(np.arange(len(sizes)) + i * width, [b.buckets.get(k, 0) for k in sizes], width, color=colour)
    counts.set_xticks(np.arange(len(sizes)), ["all" if k == 0 else str(k) for k in sizes])
    _panel(times, "Whole tick", "tick", legend="upper left")
    times.set_ylim(bottom=0)
    counts.set_title("Columns computed", color=INK)
    counts.set_ylabel("ticks")
    _tidy(counts)
    return figure


def scaling_figure(m: Measured) -> Figure:
    """Four panels: columns computed, history, grid, horizons. Medians, with p95 as whiskers."""
    figure = Figure(figsize=(11.0, 8.0), facecolor="white", layout="constrained")
    columns, history, grid, horizons = (figure.add_subplot(2, 2, panel) for panel in range(1, 5))
    s = m.scaling

    _line(columns, s.ticks, GATED_COLOUR, "gated, whole tick")
    columns.axhline(m.dense.tick_ms, color=DENSE_COLOUR, ls="--", label="dense twin")
    columns.axhline(float(np.median(s.gate)), color=THIRD, ls=":", label="the gate alone")
    _panel(columns, "Whole tick: columns computed", "k", log=True, legend="center left")

    _line(history, s.history, DENSE_COLOUR, "dense twin")
    history.axhline(float(np.median(s.history_gated)), color=GATED_COLOUR, label=f"gated, k = {ONE_BUCKET} (one graph)")
    _panel(history, "Attention core: history", "past frames")

    for what, colour in zip(dict.fromkeys(g.what for g in s.grid), (GATED_COLOUR, THIRD, DENSE_COLOUR), strict=True):
        _line(grid, _by_columns(s.grid, what), colour, what)
    _panel(grid, "Attention core: grid", "columns of the grid", log=True)
    _name_grids(grid, s.grid)

    _line(horizons, s.moves, GATED_COLOUR, "moving the voxels")
    _panel(horizons, "The move alone (200 x 200 x 16 voxels each)", "horizons")
    horizons.set_ylim(bottom=0)
    history.set_ylim(bottom=0)
    return figure


def _line(axes: Axes, times: Mapping[int, list[float]], colour: str, label: str) -> None:
    x = list(times)
    spreads = [spread(ms) for ms in times.values()]
    medians = np.array([s.median for s in spreads])
    axes.plot(x, medians, color=colour, marker="o", ms=4, lw=1.6, label=label)
    axes.vlines(x, medians, [s.p95 for s in spreads], color=colour, lw=1.2)


def _panel(axes: Axes, title: str, x_label: str, *, log: bool = False, legend: Corner = "upper left") -> None:
    axes.set_title(title, color=INK)
    axes.set_xlabel(x_label)
    axes.set_ylabel("ms")
    if log:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=9, frameon=False, loc=legend)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(True, which="major", color="#e3e6ea", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _by_columns(grid: list[GridTimes], what: str) -> dict[int, list[float]]:
    return {g.side**2: g.ms for g in grid if g.what == what and g.ms}


def _name_grids(axes: Axes, grid: list[GridTimes]) -> None:
    sides = sorted({g.side for g in grid})
    axes.set_xticks([side**2 for side in sides], [f"{side} x {side}" for side in sides])
    axes.minorticks_off()
