"""Is a confidence what it says? Of all voxels forecast as occupied, how many are right, by what was said of them.

Expected calibration error (Naeini et al., 2015): the mean over BINS of equal width, weighted by their voxels, of how
far the share that is right is from the mean confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from genie.evaluation.rollout import WindowResult
from genie.grid import CELLS, COLUMNS
from perception.types import FREE, GRID, HORIZONS_S

BINS = 20


@dataclass(frozen=True)
class Calibration:
    """By horizon and bin, [H, BINS]: voxels forecast as occupied, those of the right class, the sum of their
    confidence."""

    shown: NDArray[np.float64]
    right: NDArray[np.float64]
    said: NDArray[np.float64]

    def error(self, horizon: int | None = None) -> float:
        """Expected calibration error, 0 to 1, of one horizon or of all pooled. NaN where nothing was shown."""
        shown, right, said = (
            part.sum(axis=0) if horizon is None else part[horizon] for part in (self.shown, self.right, self.said)
        )
        return float(np.abs(right - said).sum() / shown.sum()) if shown.sum() else float("nan")

    def curve(self) -> list[tuple[float, float, float]]:
        """Mean confidence, share right, share of all voxels: of each bin that is not empty, horizons pooled."""
        shown, right, said = (part.sum(axis=0) for part in (self.shown, self.right, self.said))
        return [(said[b] / shown[b], right[b] / shown[b], shown[b] / shown.sum()) for b in range(BINS) if shown[b] > 0]


class CalibrationCount:
    """Counts windows; give its `add` to genie.evaluation.rollout.evaluate as `on_window`."""

    def __init__(self) -> None:
        self._shown, self._right, self._said = (np.zeros((len(HORIZONS_S), BINS)) for _ in range(3))

    def add(self, window: WindowResult) -> None:
        """Raises ValueError for a forecast without confidence."""
        confidence = window.forecast.confidence
        if confidence is None:
            raise ValueError("a forecast without confidence")
        for h, target in enumerate(window.targets):
            shown, right = right_of_columns(window.forecast.semantics[h], window.sequence.semantics[target])
            said = confidence[h].ravel().astype(np.float64)
            which = np.minimum((said * BINS).astype(int), BINS - 1)
            for total, values in ((self._shown, shown), (self._right, right), (self._said, said * shown)):
                total[h] += np.bincount(which, values, minlength=BINS)

    def result(self) -> Calibration:
        return Calibration(self._shown, self._right, self._said)


def right_of_columns(
    forecast: UInt8[NDArray[np.uint8], "X Y Z"], truth: UInt8[NDArray[np.uint8], "X Y Z"]
) -> tuple[Float[NDArray[np.float64], " N"], Float[NDArray[np.float64], " N"]]:
    """Voxels forecast as occupied, and those of them whose class is right, in each of the 2500 columns."""
    occupied = forecast != FREE
    blocks = (COLUMNS, CELLS, COLUMNS, CELLS, GRID.shape[2])
    counts = (part.reshape(blocks).sum(axis=(1, 3, 4)).ravel() for part in (occupied, occupied & (forecast == truth)))
    shown, right = (c.astype(np.float64) for c in counts)
    return shown, right
