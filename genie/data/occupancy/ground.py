"""The height of the ground under a scene, from its static points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import LinearNDInterpolator

from calib.transforms import Array
from genie.data.occupancy.cells import UNKNOWN, Cells
from perception.types import GROUND

CELL = 0.8  # m
_REACH_CELLS = 2  # the ground dips at least every 4 m: whoever stands is narrower, or is found by its flat surroundings
_STEP = 0.5  # m: what rises above its surroundings by more is no ground
FLAT_BELOW = 0.3  # m above the ground: what is lower lies flat
_HOLE = 0.6  # m below its surroundings: a mirror image, not ground


@dataclass(frozen=True)
class Ground:
    """height: float64 [nx, ny] (m) of cells of CELL m from `low` [2] (m) on; where none was measured, linear between
    those around, or the nearest. known: bool [nx, ny], measured there."""

    height: Array
    known: NDArray[np.bool_]
    low: Array

    def index(self, points: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells of points [n, 2 or 3] (m); those outside: the nearest."""
        cell = np.floor((points[:, :2] - self.low) / CELL).astype(np.int64)
        i, j = cell.clip(0, np.array(self.height.shape) - 1).T
        return i, j

    def above(self, points: Array) -> Array:
        """Height of points [n, 3] above the ground, [n] (m)."""
        return points[:, 2] - self.height[self.index(points)]


def estimate(cells: Cells) -> Ground:
    """The lowest points that do not stand above or lie below their surroundings: flat ones, if any is labelled so."""
    if not len(cells.number):
        return Ground(np.zeros((1, 1)), np.zeros((1, 1), bool), np.zeros(2))
    low = cells.point[:, :2].min(0)
    shape = tuple(np.floor((cells.point[:, :2].max(0) - low) / CELL).astype(int) + 1)
    flat = np.isin(cells.class_id, GROUND)
    candidate = cells.select(flat if flat.any() else cells.class_id == UNKNOWN)
    lowest = np.full(shape, np.inf)
    i, j = np.floor((candidate.point[:, :2] - low) / CELL).astype(int).T
    np.minimum.at(lowest, (i, j), candidate.point[:, 2])
    known = np.isfinite(lowest)
    if not known.any():
        return Ground(np.zeros(shape), known, low)
    filled = _nearest(lowest, known)
    middle = ndimage.median_filter(filled, size=2 * _REACH_CELLS + 1)
    known &= filled > middle - _HOLE
    filled = _nearest(lowest, known)
    floor = ndimage.grey_erosion(filled, size=(2 * _REACH_CELLS + 1,) * 2)
    known &= filled < floor + _STEP
    return Ground(_between(ndimage.median_filter(_nearest(lowest, known), size=3), known), known, low)


def _nearest(values: Array, known: NDArray[np.bool_]) -> Array:
    """Unknown cells take the value of the nearest known one."""
    index = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(index)]


def _between(values: Array, known: NDArray[np.bool_]) -> Array:
    """Unknown cells inside the hull of the known ones: linear between these. The others stay as they are."""
    if np.ptp(np.nonzero(known), axis=1).min() < 2:
        return values
    surface = LinearNDInterpolator(np.argwhere(known), values[known])
    out = values.copy()
    out[~known] = surface(np.argwhere(~known))
    return np.where(np.isnan(out), values, out)
