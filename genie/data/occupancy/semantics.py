"""Classes for the static points that have none: from labelled ones nearby, else from geometry.

Geometry alone cannot tell a sidewalk from a meadow, nor a tree from a house. What it calls by a name is a choice:
    within FLAT_BELOW of the ground, on the map's drivable surface   driveable_surface
    flat, within SIDEWALK_WIDTH of the drivable surface              sidewalk
    flat, farther away                                               terrain
    all that stands                                                  manmade
Without a map mask the drivable surface is what lies within ROAD_HALF_WIDTH of the ego's path.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from calib.transforms import Array
from genie.data.nuscenes import scene_record
from genie.data.occupancy.cells import UNKNOWN, Cells
from genie.data.occupancy.ground import FLAT_BELOW, Ground
from perception.types import CLASS_NAMES, DRIVEABLE, GROUND

if TYPE_CHECKING:
    from nuscenes import NuScenes

SIDEWALK_WIDTH = 3.0  # m
ROAD_HALF_WIDTH = 5.0  # m
NEAREST_WITHIN = 1.0  # m: as far a labelled point speaks for others
_MAP_CELL = 0.1  # m per pixel of nuScenes' masks
_SIDEWALK, _TERRAIN, _MANMADE = (CLASS_NAMES.index(n) for n in ("sidewalk", "terrain", "manmade"))


class Roads(NamedTuple):
    """distance: float32 [nx, ny], to the drivable surface (m; 0 on it), for cells of `size` m from `low` [2] on.
    mapped: it comes from a map, not from the path of the ego."""

    distance: NDArray[np.float32]
    low: Array
    size: float
    mapped: bool

    def at(self, points: Array) -> NDArray[np.float32]:
        """Of points [n, 2 or 3] (m); outside: that of the nearest cell."""
        cell = np.floor((points[:, :2] - self.low) / self.size).astype(np.int64)
        i, j = cell.clip(0, np.array(self.distance.shape) - 1).T
        return self.distance[i, j]


def roads(nusc: NuScenes, scene: str, path: Array, reach: float) -> Roads:
    """From the map mask of the scene's log, or from the ego's path [n, 2] (m); up to `reach` m around the path."""
    low, high = path.min(0) - reach, path.max(0) + reach
    image = _mask_file(nusc, scene)
    if image is None:
        size = 0.4
        shape = tuple(np.ceil((high - low) / size).astype(int))
        drivable = np.zeros(shape, np.uint8)
        driven = np.round((path - low) / size).astype(np.int32)[:, ::-1]
        cv2.polylines(drivable, [driven], False, (1,), max(1, round(2 * ROAD_HALF_WIDTH / size)))
        return Roads(_distance(drivable > 0, size), low, size, mapped=False)
    mask = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
    # Pixels count from the upper left corner; y points up.
    i0, j0 = np.maximum(np.floor(low / _MAP_CELL).astype(int), 0)
    i1, j1 = np.maximum(np.ceil(high / _MAP_CELL).astype(int), (i0 + 1, j0 + 1))
    part = mask[::-1][j0:j1, i0:i1].T > 127
    if not part.size:
        return Roads(np.full((1, 1), np.inf, np.float32), low, _MAP_CELL, mapped=True)
    return Roads(_distance(part, _MAP_CELL), np.array([i0, j0]) * _MAP_CELL, _MAP_CELL, mapped=True)


def _distance(drivable: NDArray[np.bool_], size: float) -> NDArray[np.float32]:
    if not drivable.any():
        return np.full(drivable.shape, np.inf, np.float32)
    away = np.ascontiguousarray(~drivable).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, 3) * size, np.float32)


def _mask_file(nusc: NuScenes, scene: str) -> Path | None:
    log = scene_record(nusc, scene)["log_token"]
    for row in nusc.map:
        path = Path(nusc.dataroot) / row["filename"]
        if log in row["log_tokens"] and path.is_file() and row["filename"]:
            return path
    return None


def label(cells: Cells, ground: Ground, road: Roads) -> Cells:
    """All entries with a class: their own, else the nearest labelled entry's, else that of their place."""
    class_id = cells.class_id.copy()
    open_ = np.flatnonzero(class_id == UNKNOWN)
    known = np.flatnonzero(class_id != UNKNOWN)
    if len(known) and len(open_):
        tree = cKDTree(cells.point[known])
        distance, nearest = tree.query(cells.point[open_], distance_upper_bound=NEAREST_WITHIN)
        near = np.isfinite(distance)
        class_id[open_[near]] = class_id[known[nearest[near]]]
        open_ = open_[~near]
    class_id[open_] = by_geometry(cells.point[open_], ground, road)
    return cells._replace(class_id=class_id)


def by_geometry(points: Array, ground: Ground, road: Roads) -> NDArray[np.uint8]:
    """Classes of points [n, 3] (m) by height above the ground and by the map."""
    distance = road.at(points)
    flat = np.where(distance <= 0, DRIVEABLE, np.where(distance <= SIDEWALK_WIDTH, _SIDEWALK, _TERRAIN))
    return np.where(ground.above(points) < FLAT_BELOW, flat, _MANMADE).astype(np.uint8)


def is_flat(class_id: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(class_id, GROUND)
