"""The ground between the rings of the lidar: far from the car they lie metres apart, and the road there is no hole."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calib.transforms import Array, apply, inverse
from genie.data.occupancy.ground import CELL, Ground
from genie.data.occupancy.semantics import Roads, is_flat
from perception.types import DRIVEABLE, FREE, GRID

_LOOKED_ABOVE = 2  # voxels: between rings 13 m apart, 40 m away, rays pass up to 0.6 m above the ground
_CENTERS = GRID.centers()[:, :, 0, :2]


def closed(ground: Ground, gap: float) -> NDArray[np.bool_]:
    """Cells of `ground` [nx, ny] with known ground, and those in gaps of up to `gap` m between them."""
    radius = round(gap / 2 / CELL)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    known = np.pad(ground.known.astype(np.uint8), radius)
    rows, columns = ground.known.shape
    return cv2.morphologyEx(known, cv2.MORPH_CLOSE, disc)[radius : radius + rows, radius : radius + columns] > 0


def fill_ground(
    out: NDArray[np.uint8],
    ground: Ground,
    between: NDArray[np.bool_],
    road: Roads,
    ego_from_ground: Array,
    seen: NDArray[np.bool_],
) -> None:
    """Ground voxels in place, in columns without, at the height of the ground there.

    The class is that of the nearest ground; where there is a map, drivable where the map says so and nowhere else.
    Only in the cells of `between` (see `closed`), and only where the lidar looked: past the ground, a little above it.

    Args:
        out: uint8 [X, Y, Z].
        ego_from_ground: float64 [4, 4], from the frame of `ground`.
        seen: bool [X, Y, Z], crossed or hit by rays.
    """
    flat = is_flat(out)
    has = flat.any(2)
    if not has.any():
        return
    # Heights differ by centimetres over the little that tilt moves a column: the ego's own plane finds the cell.
    points = apply(inverse(ego_from_ground), np.dstack([_CENTERS, np.zeros(_CENTERS.shape[:2])]).reshape(-1, 3))
    cell = ground.index(points)
    points[:, 2] = ground.height[cell]
    level = GRID.index_of(apply(ego_from_ground, points))[:, 2].reshape(has.shape)
    inside = (level >= 0) & (level < GRID.shape[2])
    i, j = np.nonzero(between[cell].reshape(has.shape) & inside & ~has)
    k = level[i, j]
    above = [seen[i, j, np.minimum(k + up, GRID.shape[2] - 1)] for up in range(_LOOKED_ABOVE + 1)]
    wanted = (out[i, j, k] == FREE) & np.any(above, axis=0)
    i, j, k = i[wanted], j[wanted], k[wanted]
    out[i, j, k] = _class_of(out, flat, i, j)
    if road.mapped:
        drivable = (road.at(points) <= 0).reshape(has.shape)[i, j]
        others = flat & (out != DRIVEABLE)
        if others.any():
            out[i, j, k] = _class_of(out, others, i, j)
        out[i[drivable], j[drivable], k[drivable]] = DRIVEABLE


def _class_of(
    out: NDArray[np.uint8], ground: NDArray[np.bool_], i: NDArray[np.int64], j: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Of columns i, j: the class of the nearest column with a voxel of `ground` [X, Y, Z], its lowest."""
    nearest = ndimage.distance_transform_edt(~ground.any(2), return_distances=False, return_indices=True)
    lowest = np.take_along_axis(out, ground.argmax(2)[..., None], 2)[..., 0]
    return np.asarray(lowest[tuple(nearest[:, i, j])])
