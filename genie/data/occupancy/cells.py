"""Points merged in small world cells: what millions of returns of a scene are kept as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array

UNKNOWN = 31  # a class id for points that nobody labelled yet
_BITS_XY, _BITS_Z, _BITS_CLASS = 20, 14, 5


class Cells(NamedTuple):
    """One entry for each cell and class that has points.

    point: float64 [n, 3], their mean (m). ray: float64 [n, 3], the mean of the unit vectors from the sensor to them: as
    long as 1 for what was seen from one side, short for what was seen from all around. class_id: uint8 [n], Occ3D or
    UNKNOWN. number: int64 [n], how many.
    """

    point: Array
    ray: Array
    class_id: NDArray[np.uint8]
    number: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> Cells:
        return Cells(self.point[rows], self.ray[rows], self.class_id[rows], self.number[rows])


def merge(parts: Sequence[Cells], size: float) -> Cells:
    """Entries of the same cell (of `size` m) and class become one. Coordinates may span +-100 km at 0.2 m."""
    if not sum(len(part.number) for part in parts):
        return Cells(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.uint8), np.zeros(0, np.int64))
    point, ray, class_id, number = (np.concatenate(x) for x in zip(*parts, strict=True))
    cell = np.floor(point / size).astype(np.int64)
    key = (cell[:, 0] + (1 << (_BITS_XY - 1))) << (_BITS_XY + _BITS_Z + _BITS_CLASS)
    key |= (cell[:, 1] + (1 << (_BITS_XY - 1))) << (_BITS_Z + _BITS_CLASS)
    key |= (cell[:, 2] + (1 << (_BITS_Z - 1))) << _BITS_CLASS
    key |= class_id.astype(np.int64)
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])
    weight = number[order]
    total = np.add.reduceat(weight, first)
    mean = np.add.reduceat(np.hstack([point, ray])[order] * weight[:, None], first) / total[:, None]
    return Cells(mean[:, :3], mean[:, 3:], class_id[order][first], total)


def of_points(points: Array, origin: Array, class_id: NDArray[np.uint8]) -> Cells:
    """Each point [n, 3] (m), seen from `origin` [3], an entry of its own; class_id [n]."""
    along = points - origin
    ray = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    return Cells(points, ray, class_id, np.ones(len(points), np.int64))
