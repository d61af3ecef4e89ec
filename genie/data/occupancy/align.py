"""The height of the road under the ego, from the ground that successive sweeps share.

nuScenes' ego poses all have z = 0: on a slope the frames of two sweeps differ in height by what the ego climbed in
between, and points accumulated over a scene would smear (0.8 m over 40 m at 2 %). Here that climb is measured: the
median, over the ground cells that two keyframes both saw, of the difference of their heights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array
from genie.data.occupancy.sweeps import Sweep, read_points

_CELL = 1.0  # m
_WITHIN = 25.0  # m from the ego: farther cells are thin, and tilt errors lift them
_HEIGHT = 1.5  # m above or below the ego frame
_MIN_CELLS = 60
_STEEPEST = 0.15  # of the way driven: beyond it the estimate is wrong, not the road


def heights(sweeps: Sequence[Sweep], step_us: int = 500_000) -> Array:
    """Height of the ego frame's origin [len(sweeps)] (m) relative to that of the first sweep, linear between anchors
    that are `step_us` apart."""
    if not sweeps:
        return np.zeros(0)
    stamps = np.array([s.stamp_us for s in sweeps], np.int64)
    wanted = np.arange(stamps[0], stamps[-1] + step_us, step_us)
    anchors = np.unique(np.abs(stamps[:, None] - wanted).argmin(0))
    height, before = [0.0], _ground(sweeps[anchors[0]])
    for earlier, later in pairwise(anchors):
        ground = _ground(sweeps[later])
        driven = float(np.linalg.norm(sweeps[later].origin - sweeps[earlier].origin))
        height.append(height[-1] + _climb(before, ground, driven))
        before = ground
    return np.interp(stamps, stamps[anchors], height)


class _Ground(NamedTuple):
    """Cells near the ego (sorted keys [n]) and the lowest return of each ([n], m)."""

    cell: NDArray[np.int64]
    lowest: Array


def _ground(sweep: Sweep) -> _Ground:
    points = read_points(sweep, _WITHIN).world
    points = points[np.abs(points[:, 2] - sweep.world_from_ego[2, 3]) < _HEIGHT]
    cell = np.floor(points[:, :2] / _CELL).astype(np.int64)
    keys, inverse = np.unique(cell[:, 0] * 1_000_003 + cell[:, 1], return_inverse=True)
    lowest = np.full(len(keys), np.inf)
    np.minimum.at(lowest, inverse, points[:, 2])
    return _Ground(keys, lowest)


def _climb(a: _Ground, b: _Ground, driven: float) -> float:
    """What a cell has lost in height from `a` to `b`, the ego has gained."""
    common, in_a, in_b = np.intersect1d(a.cell, b.cell, assume_unique=True, return_indices=True)
    if len(common) < _MIN_CELLS:
        return 0.0
    limit = _STEEPEST * driven
    return float(np.clip(np.median(a.lowest[in_a] - b.lowest[in_b]), -limit, limit))
