"""How good a trajectory of the ego is: distance from the true one and collisions, in both published conventions.

    at the instant   UniAD (and OccWorld's first table): the value at 1, 2, 3 s
    mean up to it    ST-P3, VAD: the mean over all steps of 0.5 s until then

A collision: the ego's rectangle as ST-P3 has it overlaps an annotated box of something that can move. Steps at which
the true trajectory does so, too (annotations are not exact), do not count, as in both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from calib.transforms import inverse, wrap_angle, yaw_of
from genie.data.tracks import Boxes
from genie.evaluation.rollout import WindowResult
from perception.types import HORIZONS_S, MOVABLE

EGO_LENGTH_M, EGO_WIDTH_M, EGO_AHEAD_M = 4.084, 1.85, 0.5  # of the rectangle, and of its centre before the ego's origin


class PlanningScores(NamedTuple):
    """l2_m, collision_percent: at each horizon; *_mean: mean of the steps up to it. collision is None without
    annotations. heading_deg: mean absolute error at each horizon."""

    windows: int
    l2_m: NDArray[np.float64]
    l2_m_mean: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    collision_percent: NDArray[np.float64] | None
    collision_percent_mean: NDArray[np.float64] | None


class PlanningCount:
    """Counts windows; give its `add` to genie.evaluation.rollout.evaluate as `on_window`, with ego "predicted"."""

    def __init__(self) -> None:
        self._l2: list[NDArray[np.float64]] = []
        self._heading: list[NDArray[np.float64]] = []
        self._hits: list[NDArray[np.bool_]] = []
        self._judged: list[NDArray[np.bool_]] = []
        self._annotated = True

    def add(self, window: WindowResult) -> None:
        poses, targets = window.sequence.world_from_ego, list(window.targets)
        true = inverse(poses[window.t]) @ poses[targets]
        told = window.forecast.ego_from_future
        self._l2.append(np.linalg.norm(told[:, :2, 3] - true[:, :2, 3], axis=-1))
        self._heading.append(np.abs(wrap_angle(yaw_of(told) - yaw_of(true))))
        if window.tracks is None:
            self._annotated = False
            return
        hits, excused = np.zeros(len(targets), bool), np.zeros(len(targets), bool)
        for h, target in enumerate(targets):
            boxes = window.tracks.at(int(window.sequence.timestamp_us[target]))
            boxes = boxes.select(np.isin(boxes.class_id, MOVABLE))
            hits[h] = collides(poses[window.t] @ told[h], boxes).any()
            excused[h] = collides(poses[target], boxes).any()
        self._hits.append(hits & ~excused)
        self._judged.append(~excused)

    def result(self) -> PlanningScores:
        """Raises ValueError where nothing was counted."""
        if not self._l2:
            raise ValueError("no window was counted")
        l2, heading = np.mean(self._l2, axis=0), np.degrees(np.mean(self._heading, axis=0))
        collision = None
        if self._annotated:
            collision = 100.0 * np.sum(self._hits, axis=0) / np.maximum(np.sum(self._judged, axis=0), 1)
        return PlanningScores(
            len(self._l2), l2, _up_to(l2), heading, collision, None if collision is None else _up_to(collision)
        )


def _up_to(values: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.cumsum(values) / np.arange(1, len(HORIZONS_S) + 1)
    return mean


class _Rectangles(NamedTuple):
    """Seen from above. center [n, 2]; sides [n, 2, 2], unit vectors along and across; half [n, 2], of length, width."""

    center: NDArray[np.float64]
    sides: NDArray[np.float64]
    half: NDArray[np.float64]

    def reach(self, axes: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the centre along axes [n, a, 2]: [n, a]."""
        along = np.abs(np.einsum("nax,nsx->nas", axes, self.sides))
        reach: NDArray[np.float64] = np.einsum("nas,ns->na", along, self.half)
        return reach


def collides(world_from_ego: Float[NDArray[np.float64], "4 4"], boxes: Boxes) -> Bool[NDArray[np.bool_], " B"]:
    """Which boxes the ego's rectangle overlaps: two rectangles are apart if they are so along a side of either."""
    count = len(boxes)
    ego = _rectangles(
        np.tile(world_from_ego[:2, 3], (count, 1)),
        np.full(count, yaw_of(world_from_ego)),
        np.tile([EGO_LENGTH_M, EGO_WIDTH_M], (count, 1)),
    )
    ego = ego._replace(center=ego.center + EGO_AHEAD_M * ego.sides[:, 0])
    other = _rectangles(boxes.center_world[:, :2], boxes.yaw_world, boxes.size_lwh[:, :2])
    apart = np.zeros(count, bool)
    for axes in (ego.sides, other.sides):
        distance = np.abs(np.einsum("nax,nx->na", axes, other.center - ego.center))
        apart |= (distance > ego.reach(axes) + other.reach(axes)).any(axis=1)
    return ~apart


def _rectangles(center: NDArray[np.float64], yaw: NDArray[np.float64], size: NDArray[np.float64]) -> _Rectangles:
    along = np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
    return _Rectangles(center, np.stack([along, along[:, ::-1] * [-1.0, 1.0]], axis=1), size / 2)
