"""The ground between the rings of the lidar: far from the car they lie metres apart, and the road there is no hole."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calib.transforms import Array, apply, inverse
from genie.data.occupancy.ground import Ground
from genie.data.occupancy.semantics import is_flat
from perception.types import FREE, GRID

_CENTERS = GRID.centers()[:, :, 0, :2]


def fill_ground(out: NDArray[np.uint8], ground: Ground, ego_from_ground: Array, gap: float) -> None:
    """Ground voxels in place, in columns that lie between columns with ground, at the height of the ground there.

    Only gaps up to `gap` m wide are closed, and nothing grows outwards. The class is that of the nearest ground column.

    Args:
        out: uint8 [X, Y, Z].
        ego_from_ground: float64 [4, 4], from the frame of `ground`.
    """
    flat = is_flat(out)
    has = flat.any(2)
    if not has.any():
        return
    radius = round(gap / 2 / GRID.voxel_size)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    border = np.pad(has.astype(np.uint8), radius)
    closed = cv2.morphologyEx(border, cv2.MORPH_CLOSE, disc)[radius:-radius, radius:-radius] > 0
    i, j = np.nonzero(closed & ~has)
    k = _level(ground, ego_from_ground, _CENTERS[i, j])
    inside = (k >= 0) & (k < GRID.shape[2])
    i, j, k = i[inside], j[inside], k[inside]
    nearest = ndimage.distance_transform_edt(~has, return_distances=False, return_indices=True)
    lowest = np.take_along_axis(out, flat.argmax(2)[..., None], 2)[..., 0]
    empty = out[i, j, k] == FREE
    i, j, k = i[empty], j[empty], k[empty]
    out[i, j, k] = lowest[tuple(nearest[:, i, j])]


def _level(ground: Ground, ego_from_ground: Array, columns: Array) -> NDArray[np.int64]:
    """z index of the ground in columns [n, 2] (m, ego)."""
    # Heights differ by centimetres over the little that tilt moves a column: the ego's own plane finds the cell.
    flat = np.column_stack([columns, np.zeros(len(columns))])
    in_ground = apply(inverse(ego_from_ground), flat)
    in_ground[:, 2] = ground.height[ground.index(in_ground)]
    return GRID.index_of(apply(ego_from_ground, in_ground))[:, 2]
