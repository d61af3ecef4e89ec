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

    point: float64 [n, 3], their mean (m). class_id: uint8 [n], Occ3D or UNKNOWN. count: int64 [n], how many.
    """

    point: Array
    class_id: NDArray[np.uint8]
    count: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> Cells:
        return Cells(self.point[rows], self.class_id[rows], self.count[rows])


def merge(parts: Sequence[Cells], size: float) -> Cells:
    """Entries of the same cell (of `size` m) and class become one. Coordinates may span +-100 km at 0.2 m."""
    if not parts:
        return Cells(np.zeros((0, 3)), np.zeros(0, np.uint8), np.zeros(0, np.int64))
    point, class_id, count = (np.concatenate(x) for x in zip(*parts, strict=True))
    cell = np.floor(point / size).astype(np.int64)
    key = (cell[:, 0] + (1 << (_BITS_XY - 1))) << (_BITS_XY + _BITS_Z + _BITS_CLASS)
    key |= (cell[:, 1] + (1 << (_BITS_XY - 1))) << (_BITS_Z + _BITS_CLASS)
    key |= (cell[:, 2] + (1 << (_BITS_Z - 1))) << _BITS_CLASS
    key |= class_id.astype(np.int64)
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, np.int64)
    weight = count[order]
    total = np.add.reduceat(weight, first) if len(first) else weight
    mean = np.add.reduceat(point[order] * weight[:, None], first) / total[:, None] if len(first) else point
    return Cells(mean, class_id[order][first], total)


def of_points(points: Array, class_id: NDArray[np.uint8] | int) -> Cells:
    """Each point [n, 3] (m) an entry of its own."""
    ids = np.broadcast_to(np.asarray(class_id, np.uint8), len(points))
    return Cells(points, ids.copy(), np.ones(len(points), np.int64))
