"""RayIoU (Liu et al., "Fully Sparse 3D Occupancy Prediction", 2023): what a virtual lidar sees, not what fills volume.

14040 rays (39 pitches of a nuScenes lidar, denser far away; 360 azimuths) from up to 8 places of the scene's lidar
within the grid. Of those that end on something in the truth, a ray is right where the class is the same and the
distance differs by less than 1, 2 or 4 m. One table is summed over a data set. Here a ray's distance is to the border
of the voxel that it ends in, in truth and forecast alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, apply, inverse
from perception.metrics import UNKNOWN, Score
from perception.rays import FirstSeen, first_seen
from perception.types import FREE

THRESHOLDS_M = (1.0, 2.0, 4.0)
MOST_ORIGINS = 8
_WITHIN = 39.0  # m from the ego, in x and in y
_HIGHEST = 0.21  # rad, of the lidar's beams


@cache
def directions() -> Array:
    """Unit vectors [14040, 3]."""
    pitches = [-(math.pi / 2 - math.atan(k + 1)) for k in range(10)]
    while pitches[-1] < _HIGHEST:
        pitches.append(2 * pitches[-1] - pitches[-2])
    pitch, azimuth = np.meshgrid(pitches, np.radians(np.arange(360)), indexing="ij")
    flat = np.cos(pitch)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(pitch)], axis=-1).reshape(-1, 3)


def origins_of(world_from_ego: Sequence[Array], frame: int, ego_from_lidar: Array) -> Array:
    """Where the lidar was at the keyframes of a scene, [n, 3] (m) in the ego frame of one of them; evenly spaced ones
    where there are more than 8 within the grid."""
    places = np.stack([apply(pose, ego_from_lidar[:3, 3]) for pose in world_from_ego])
    local = apply(inverse(world_from_ego[frame]), places)
    local = local[(np.abs(local[:, :2]) < _WITHIN).all(1)]
    if len(local) > MOST_ORIGINS:
        local = local[np.round(np.linspace(0, len(local) - 1, MOST_ORIGINS)).astype(int)]
    return local


class RayTable(NamedTuple):
    """right: int64 [3, 17] by threshold and class. truth, forecast: int64 [17], rays that end on each class."""

    right: NDArray[np.int64]
    truth: NDArray[np.int64]
    forecast: NDArray[np.int64]

    def plus(self, other: RayTable) -> RayTable:
        return RayTable(*(a + b for a, b in zip(self, other, strict=True)))


class Sight(NamedTuple):
    """What the truth shows from some origins: made once, compared with many forecasts."""

    origins: Array
    directions: Array
    seen: FirstSeen


def look(truth: NDArray[np.uint8], origins: Array) -> Sight:
    """Of labels [X, Y, Z]; rays that end on nothing are left out.

    Args:
        origins: [n, 3] (m, ego frame).
    """
    unit = directions()
    starts, ways = np.repeat(origins, len(unit), axis=0), np.tile(unit, (len(origins), 1))
    seen = first_seen(truth, starts, ways)
    hit = seen.kind != FREE
    return Sight(starts[hit], ways[hit], FirstSeen(seen.kind[hit], seen.distance[hit]))


def ray_table(sight: Sight, forecast: NDArray[np.uint8]) -> RayTable:
    """Counts of one forecast [X, Y, Z]."""
    found = first_seen(forecast, sight.origins, sight.directions)
    off = np.abs(found.distance - sight.seen.distance)
    same = found.kind == sight.seen.kind
    right = [np.bincount(sight.seen.kind[same & (off < t)], minlength=FREE) for t in THRESHOLDS_M]
    counts = (np.bincount(k[k != FREE], minlength=FREE) for k in (sight.seen.kind, found.kind))
    return RayTable(np.stack(right), *counts)


class RayScore(NamedTuple):
    """at: mean over the classes that are there, by threshold. mean: of the three."""

    at: tuple[Score, ...]
    mean: Score


def ray_iou(table: RayTable) -> RayScore:
    """Not valid where no ray of the truth ends on anything. Classes that are neither in truth nor in forecast do not
    count; those in the forecast alone count as 0, as published."""
    union = table.truth + table.forecast - table.right
    known = union[0] > 0
    if not known.any() or not table.truth.any():
        return RayScore((UNKNOWN,) * len(THRESHOLDS_M), UNKNOWN)
    values = [float((r[known] / u[known]).mean()) for r, u in zip(table.right, union, strict=True)]
    return RayScore(tuple(Score(v, True) for v in values), Score(float(np.mean(values)), True))
