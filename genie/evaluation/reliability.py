"""The reliability plot: how often what was said to be sure was right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from calib.files import atomic_path
from genie.evaluation.calibration import BINS, Calibration


def draw_reliability(path: Path, calibrations: Mapping[str, Calibration]) -> None:
    """Writes a PNG: a curve for each name, and below how the voxels spread over what was said."""
    figure = Figure(figsize=(5.6, 6.4), facecolor="white", layout="constrained")
    curve, share = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="0.7", lw=1, ls="--")
    for name, calibration in calibrations.items():
        said, right, part = zip(*calibration.curve(), strict=True)
        (line,) = curve.plot(said, right, marker="o", ms=4, label=f"{name}: {100 * calibration.error():.1f} %")
        share.bar(said, part, width=0.8 / BINS, color=line.get_color(), alpha=0.5)
    curve.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1), title="Confidence of voxels forecast as occupied")
    curve.legend(title="expected calibration error", loc="upper left", frameon=False)
    share.set(xlabel="confidence", ylabel="share of voxels", yscale="log")
    for axis in (curve, share):
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
