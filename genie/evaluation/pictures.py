"""Figures of forecasts and of training, with matplotlib's objects and none of its global state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from numpy.typing import NDArray

from calib.files import atomic_path
from genie.evaluation import topview
from genie.evaluation.report import SHOWN_S
from genie.evaluation.showcase import Shown
from perception.types import CLASS_NAMES, FREE, GRID

EDGE_M = -GRID.origin[0]  # the grid reaches so far to each side
EGO_M = np.array(
    [(3.1, 0.0), (2.4, 0.87), (-1.0, 0.87), (-1.0, -0.87), (2.4, -0.87)]
)  # x, y: 4.1 m, from its rear axle
INK = "#222831"


def forecast_figure(shown: Shown) -> Figure:
    """What is seen now; beside it what happens (above) and what was forecast (below) after 1, 2 and 3 s."""
    aspect = 15.0 / 7.2
    figure = Figure(figsize=(15.0, 7.2), facecolor="white")
    left, top, cell, gap = 0.012, 0.945, 0.1885, 0.0065  # of the figure's width and height; the panels are square
    height, vgap = cell * aspect, gap * aspect
    big = 2 * height + vgap
    now = figure.add_axes((left, top - big, big / aspect, big))
    _draw(now, topview.scene_image(shown.observation), "Observed now", size=15)
    start = left + big / aspect + 0.022
    rows = ((shown.truth, None, "What happens"), (shown.forecast, shown.truth, "Forecast"))
    for row, (volumes, outlines, name) in enumerate(rows):
        bottom = top - height - row * (height + vgap)
        for column, seconds in enumerate(SHOWN_S):
            axes = figure.add_axes((start + column * (cell + gap), bottom, cell, height))
            image = topview.scene_image(volumes[column], None if outlines is None else outlines[column])
            _draw(axes, image, f"+{seconds:g} s" if row == 0 else "", size=15)
            if column == 0:
                axes.set_ylabel(name, fontsize=14, color=INK, labelpad=5)
    seen = (shown.observation, *shown.truth, *shown.forecast)
    _legend(figure, _class_handles(seen), y=0.022, columns=8)
    return figure


def comparison_figure(shown: Shown, baseline: str) -> Figure:
    """Rows: 1, 2, 3 s. Columns: truth, the baseline and its errors, the forecast and its errors."""
    columns = ("what happens", baseline, f"errors of {baseline}", "forecast", "errors of the forecast")
    figure = Figure(figsize=(15.0, 10.1), facecolor="white")
    grid = figure.add_gridspec(3, 5, left=0.03, right=0.995, top=0.965, bottom=0.085, wspace=0.03, hspace=0.03)
    for row, seconds in enumerate(SHOWN_S):
        truth = shown.truth[row]
        images = [topview.scene_image(truth)]
        for volume in (shown.baseline[row], shown.forecast[row]):
            images += [topview.scene_image(volume, truth), topview.error_image(truth, volume)]
        for column, (image, name) in enumerate(zip(images, columns, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            _draw(axes, image, name if row == 0 else "", size=13)
            if column == 0:
                axes.set_ylabel(f"+{seconds:g} s", fontsize=14, color=INK)
    _legend(figure, _class_handles((*shown.truth, *shown.baseline, *shown.forecast)), y=0.032, columns=9)
    _legend(figure, _verdict_handles(), y=0.006, columns=6)
    return figure


def loss_figure(records: Sequence[Mapping[str, float]]) -> Figure:
    """One panel for each loss of metrics.jsonl; what a plain rule reaches (`_measured`, `_copied`) is dashed."""
    names = [n for n in records[0] if n not in ("step", "steps_per_s") and not n.endswith(("_measured", "_copied"))]
    figure = Figure(figsize=(3.6 * len(names), 2.7), facecolor="white")
    steps = [record["step"] for record in records]
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        axes.plot(steps, [record[name] for record in records], color="#1f64d2", lw=1.6, label="learned")
        for plain in (n for n in records[0] if n in (f"{name}_measured", f"{name}_copied")):
            label = plain.removeprefix(f"{name}_")
            axes.plot(steps, [record[plain] for record in records], color="#888", lw=1.2, ls="--", label=label)
            axes.legend(frameon=False, fontsize=8)
        axes.set_title(name, fontsize=11, color=INK)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def png(figure: Figure, dpi: int = 110) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save_png(figure: Figure, path: Path, dpi: int = 110) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(png(figure, dpi))


def _draw(axes: Axes, image: topview.Image, title: str, size: int) -> None:
    """An image of the top view in metres, with the ego where it stands."""
    axes.imshow(image, extent=(EDGE_M, -EDGE_M, -EDGE_M, EDGE_M), interpolation="antialiased")
    axes.add_patch(Polygon(EGO_M[:, ::-1], closed=True, facecolor="white", edgecolor="black", lw=1.4, zorder=3))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#b8bec6")
    if title:
        axes.set_title(title, fontsize=size, color=INK, pad=5)


def _legend(figure: Figure, handles: list[Patch | Line2D], y: float, columns: int) -> None:
    figure.legend(
        handles=handles, loc="lower center", ncol=columns, frameon=False, fontsize=11, bbox_to_anchor=(0.5, y),
        handlelength=1.3, handleheight=1.0, columnspacing=1.3, handletextpad=0.5, borderaxespad=0.0,
    )  # fmt: skip


def _class_handles(volumes: Iterable[NDArray[np.uint8]]) -> list[Patch | Line2D]:
    """The classes that are seen from above, the outlines and the ego."""
    present = sorted({int(c) for v in volumes for c in np.unique(topview.top_view(v).class_id)} - {FREE})
    handles: list[Patch | Line2D] = [
        Patch(
            facecolor=topview.CLASS_COLOURS[c] / 255, edgecolor="#888", lw=0.5, label=CLASS_NAMES[c].replace("_", " ")
        )
        for c in present
    ]
    handles.append(Line2D([], [], color="#191923", lw=1.6, label="outline: where it truly is"))
    handles.append(Patch(facecolor="white", edgecolor="black", lw=1.4, label="ego, heading up"))
    return handles


def _verdict_handles() -> list[Patch | Line2D]:
    return [
        Patch(facecolor=colour / 255, edgecolor="#888", lw=0.5, label=name)
        for colour, name in zip(topview.VERDICT_COLOURS, topview.VERDICT_NAMES, strict=True)
        if name
    ]
