"""Sweeps to voxel features in the ego frame of now: what the lidar path of the network reads.

Each sweep is moved by its own ego pose; where the driver gives raw firings, each point by the pose at its own time
(`deskew`). Free space is carved: how many rays crossed a voxel without ending in it.

Features, uint8 [F, Z, X, Y] so that a frame is 3 MB and copies fast: hits and crossings (logarithmic), mean intensity,
freshness of the newest return, and mean height of the returns within the voxel (what tells a kerb from a road).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import Array, apply, inverse
from perception.carving import carve
from perception.preprocess import clean_returns
from perception.types import GRID, VoxelGrid

FEATURES = ("hits", "intensity", "freshness", "height", "crossings")
OLDEST = 1.0  # s; returns of this age have freshness 0
_LOG_SCALE = 32.0  # levels a doubling: 255 is 2^8 - 1 of them


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """One revolution, compensated to its stamp (us).

    points: float32 [n, 4 or more]: x, y, z (m, sensor frame), intensity 0..255. Transforms: [4, 4].
    """

    points: NDArray[np.float32]
    stamp_us: int
    world_from_ego: Array
    ego_from_sensor: Array


class VoxelFeatures(NamedTuple):
    """Per voxel [X, Y, Z]. hits, crossings: uint32 counts. intensity: float64 mean, 0..255. age: float64, s since the
    newest return; infinite without one. height: float64, mean of the returns above the voxel's floor, 0..1."""

    hits: NDArray[np.uint32]
    intensity: Array
    age: Array
    height: Array
    crossings: NDArray[np.uint32]

    def encoded(self) -> NDArray[np.uint8]:
        """uint8 [F, Z, X, Y], the network's input, in the order of FEATURES."""
        fresh = np.clip(1.0 - self.age / OLDEST, 0.0, 1.0)
        levels = (
            _LEVELS[np.minimum(self.hits, 255)],
            _rounded(self.intensity),
            _rounded(255.0 * fresh),
            _rounded(255.0 * self.height),
            _LEVELS[np.minimum(self.crossings, 255)],
        )
        return np.ascontiguousarray(np.stack(levels).transpose(0, 3, 1, 2))


def _rounded(level: Array) -> NDArray[np.uint8]:
    return np.clip(np.round(level), 0, 255).astype(np.uint8)


# Of a count; those above 255 are at the upper end.
_LEVELS = _rounded(_LOG_SCALE * np.log2(1.0 + np.arange(256)))


class VoxelSums:
    """What sweeps add up to, in one ego frame. Sweeps may come in any order."""

    def __init__(self, world_from_ego: Array, stamp_us: int, grid: VoxelGrid = GRID) -> None:
        """world_from_ego: [4, 4], of the frame that the features are in. stamp_us: of the newest sweep."""
        self._world_from_ego, self._stamp_us, self._grid = world_from_ego, stamp_us, grid
        count = int(np.prod(grid.shape))
        self._hits, self._crossings = (np.zeros(grid.shape, np.uint32) for _ in range(2))
        self._light, self._height = np.zeros(count), np.zeros(count)
        self._age = np.full(count, np.inf)

    def add(self, sweep: LidarSweep) -> None:
        """
        Raises:
            InputError: a sweep from after the stamp.
        """
        age, grid, count = (self._stamp_us - sweep.stamp_us) * 1e-6, self._grid, len(self._age)
        if age < 0:
            raise InputError(
                f"a sweep {-age:.3f} s from after the stamp",
                expected="sweeps up to the stamp",
                fix="give the stamp of the newest sweep",
            )
        now_from_ego = inverse(self._world_from_ego) @ sweep.world_from_ego
        returns = clean_returns(sweep.points, sweep.ego_from_sensor)
        points = (apply(now_from_ego, returns.points) - grid.origin) / grid.voxel_size
        origin = (apply(now_from_ego, sweep.ego_from_sensor[:3, 3]) - grid.origin) / grid.voxel_size
        inside = ((points >= 0) & (points < grid.shape)).all(1)
        voxel = np.floor(points[inside]).astype(np.int64)
        flat = (voxel[:, 0] * grid.shape[1] + voxel[:, 1]) * grid.shape[2] + voxel[:, 2]
        self._light += np.bincount(flat, returns.intensity[inside], minlength=count)
        self._height += np.bincount(flat, points[inside, 2] - voxel[:, 2], minlength=count)
        self._age[flat] = np.minimum(self._age[flat], age)
        carve(origin, points, self._crossings, self._hits)

    def features(self) -> VoxelFeatures:
        """Of what was added so far."""
        light, age, height = (a.reshape(self._grid.shape) for a in (self._light, self._age.copy(), self._height))
        some = np.maximum(self._hits, 1)
        return VoxelFeatures(self._hits.copy(), light / some, age, height / some, self._crossings.copy())


def voxelize(
    sweeps: Sequence[LidarSweep], world_from_ego: Array, stamp_us: int, grid: VoxelGrid = GRID
) -> VoxelFeatures:
    """Features of sweeps in the ego frame `world_from_ego` [4, 4] at `stamp_us`.

    Raises:
        InputError: no sweep, or one from after the stamp.
    """
    if not sweeps:
        raise InputError("no sweep", expected="one or more", fix="wait for the lidar, or use the cameras alone")
    sums = VoxelSums(world_from_ego, stamp_us, grid)
    for sweep in sweeps:
        sums.add(sweep)
    return sums.features()


def deskew(points: Array, share: Array, start_from_end: Array) -> Array:
    """Points [n, 3] that were measured while the sensor moved, in the sensor frame at the end of the revolution.

    Args:
        share: [n], of the revolution that had passed when each was measured: 0 at its start, 1 at its end.
        start_from_end: [4, 4], how the sensor moved. The speed is taken as constant and the turn as small (a revolution
            takes 0.05 s: 3 degrees at 60 degrees a second).
    """
    left = (1.0 - np.asarray(share))[:, None]
    turn = _rotation_vector(inverse(start_from_end)[:3, :3])
    moved = inverse(start_from_end)[:3, 3]
    vectors = left * turn
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    axis = vectors / np.maximum(angle, 1e-12)
    along = (axis * points).sum(1, keepdims=True)
    # Rodrigues, an own rotation for each point.
    turned = points * np.cos(angle) + np.cross(axis, points) * np.sin(angle) + axis * along * (1 - np.cos(angle))
    return np.asarray(turned + left * moved)


def _rotation_vector(rotation: Array) -> Array:
    """Axis times angle (rad) [3] of a rotation matrix [3, 3] of less than half a turn."""
    return np.asarray(cv2.Rodrigues(rotation)[0], np.float64)[:, 0]
