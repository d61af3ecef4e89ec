"""Annotated boxes at the time of any sweep, and which points lie in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from calib.transforms import Array
from genie.data.tracks import Boxes, SceneTracks

REVOLUTION_S = 0.05


class SweepBoxes(NamedTuple):
    """sure: bool [B], interpolated between two annotations. The others are extrapolated from the nearer keyframe: good
    enough to take their points out of what stands still, not to place the points in the box."""

    boxes: Boxes
    sure: NDArray[np.bool_]


class Members(NamedTuple):
    """row: int32 [n], the smallest box that, grown by the margin, contains the point; -1 for none.
    inside: bool [n], the box contains it without the margin. local: float64 [n, 3], in the frame of the box (m)."""

    row: NDArray[np.int32]
    inside: NDArray[np.bool_]
    local: Array


def boxes_at(tracks: SceneTracks, stamp_us: int) -> SweepBoxes:
    """The boxes at a time between the first and the last keyframe, those that come or go between two included."""
    both = tracks.at(stamp_us)
    after = int(np.searchsorted(tracks.stamp_us, stamp_us))
    parts = [both]
    if 0 < after < len(tracks.stamp_us) and tracks.stamp_us[after] != stamp_us:
        for index in (after - 1, after):
            seconds = (stamp_us - int(tracks.stamp_us[index])) * 1e-6
            parts.append(_moved(_others(tracks.boxes[index], both.instance), seconds))
    fields = Boxes.__dataclass_fields__
    joined = Boxes(*(np.concatenate([getattr(p, name) for p in parts]) for name in fields))
    return SweepBoxes(joined, np.arange(len(joined)) < len(both))


def _others(boxes: Boxes, instances: NDArray[np.int64]) -> Boxes:
    return boxes.select(~np.isin(boxes.instance, instances))


def _moved(boxes: Boxes, seconds: float) -> Boxes:
    center = boxes.center_world.copy()
    center[:, :2] += np.nan_to_num(boxes.velocity_world) * seconds
    return Boxes(boxes.instance, boxes.class_id, center, boxes.size_lwh, boxes.yaw_world, boxes.velocity_world)


def members(points: Array, boxes: Boxes, margin: float) -> Members:
    """Which box each of the points [n, 3] (m, world) belongs to.

    Beside `margin` (m), boxes grow by what they move in a revolution: boxes are placed at its end, points are not.
    """
    order = np.argsort(boxes.size_lwh.prod(1), kind="stable")
    speed = np.nan_to_num(np.linalg.norm(boxes.velocity_world, axis=1))
    grown = boxes.size_lwh / 2 + margin + np.outer(speed * REVOLUTION_S, [1.0, 1.0, 0.0])
    row, local = np.full(len(points), -1, np.int32), np.zeros((len(points), 3))
    poses = np.column_stack([boxes.center_world, np.cos(boxes.yaw_world), np.sin(boxes.yaw_world)])
    _assign(np.ascontiguousarray(points), poses, grown, order, row, local)
    half = boxes.size_lwh[row] / 2 if len(boxes) else np.zeros((len(points), 3))
    return Members(row, (row >= 0) & (np.abs(local) <= half).all(1), local)


@njit(cache=True, nogil=True)
def _assign(points, poses, half, order, row, local):
    for b in order:
        x, y, z, cos, sin = poses[b]
        half_l, half_w, half_h = half[b]
        around = half_l + half_w
        for p in range(len(points)):
            dx, dy = points[p, 0] - x, points[p, 1] - y
            if row[p] >= 0 or abs(dx) > around or abs(dy) > around:
                continue
            along, across, up = cos * dx + sin * dy, cos * dy - sin * dx, points[p, 2] - z
            if abs(along) <= half_l and abs(across) <= half_w and abs(up) <= half_h:
                row[p] = b
                local[p, 0], local[p, 1], local[p, 2] = along, across, up
