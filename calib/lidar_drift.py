"""Has the lidar moved on the car? What it sees of the road and beside it, against the ego frame and the ego motion.

The road tells the lidar's height, pitch and roll (`road_levels`). Walls seen twice tell its heading: the car drives
where its own frame points, and if the lidar's frame is turned, walls slip sideways in proportion to the way driven
(`heading_error`). The car's springs move the first three as well: over seconds that averages out.
"""

from __future__ import annotations

import numpy as np

from calib.drift import SHIFT, TURN, Reading
from calib.transforms import Array, apply

LEVELS = ("height", "pitch", "roll", "heading")
CHANGES = np.array([SHIFT, TURN, TURN, TURN])  # m, rad: what has to be flagged
NAMES = tuple(f"{sign}{level}" for level in LEVELS for sign in "-+")
ROAD = (3.0, 18.0, 6.0)  # m ahead or behind from, to; to either side
NEAR_ROAD = 0.4  # m
MIN_ROAD_POINTS = 300
CELL = 0.8  # m, of the grid in which walls are found
WALL_HEIGHT = (0.5, 3.0)  # m above the ego's ground
MIN_WALL_POINTS, FLATNESS, THICKNESS = 8, 20.0, 0.08  # points in a cell; ratio of its variances; m
SLIP = 0.4  # m: a point farther from a cell's wall is of something else
MIN_WAY = 2.0  # m driven between the two sweeps
MIN_WALL = 150  # points that meet a wall again


def road_levels(points: Array, ego_from_lidar: Array) -> Array | None:
    """Height (m), pitch and roll (rad) of the lidar's road against the ego's z = 0: [3]; None where too little is seen.

    Args:
        points: [n, 3] (m, lidar frame).
    """
    local = apply(ego_from_lidar, points)
    start, end, side = ROAD
    ahead = np.abs(local[:, 0])
    near = (ahead > start) & (ahead < end) & (np.abs(local[:, 1]) < side) & (np.abs(local[:, 2]) < NEAR_ROAD)
    x, y, z = local[near].T
    plane = np.zeros(3)
    design = np.column_stack([np.ones_like(x), x, y])
    for limit in (NEAR_ROAD, 0.2, 0.1, 0.1):
        kept = np.abs(z - design @ plane) < limit
        if kept.sum() < MIN_ROAD_POINTS:
            return None
        plane = np.linalg.lstsq(design[kept], z[kept], rcond=None)[0]
    return np.array([plane[0], -plane[1], plane[2]])


def heading_error(before: Array, now: Array, before_from_now: Array) -> float | None:
    """By how much the lidar points to the left of where the car drives (rad), from two sweeps of points [n, 3] (m, in
    the ego frames as calibrated); None where the car hardly moved or there is no wall.

    Args:
        before_from_now: [4, 4], the ego's own motion, as odometry tells it.
    """
    way = before_from_now[:3, 3]
    if np.linalg.norm(way[:2]) < MIN_WAY:
        return None
    centres, normals, cells = _walls(_standing(before))
    moved = apply(before_from_now, _standing(now))[:, :2]
    at = np.clip(np.searchsorted(cells, _cell(moved)), 0, max(len(cells) - 1, 0))
    if not len(cells):
        return None
    met = cells[at] == _cell(moved)
    normal, arm = normals[at[met]], moved[met] - way[:2]
    slip = ((moved[met] - centres[at[met]]) * normal).sum(1)
    ahead = way[:2] / np.linalg.norm(way[:2])
    left = np.array([-ahead[1], ahead[0]])
    # Slips of a shift along and across the way, and of a turn about the car.
    design = np.column_stack([normal @ ahead, normal @ left, normal[:, 1] * arm[:, 0] - normal[:, 0] * arm[:, 1]])
    solved = np.zeros(3)
    for limit in (SLIP, 0.2, 0.1, 0.1):
        kept = np.abs(slip - design @ solved) < limit
        if kept.sum() < MIN_WALL or np.linalg.cond(design[kept]) > 1e4:
            return None
        solved = np.linalg.lstsq(design[kept], slip[kept], rcond=None)[0]
    # A point that stands to the left of where odometry moves it: the frame it is told in points to the right.
    return float(-solved[1] / np.linalg.norm(way[:2]))


def lidar_reading(lidar: str, stamp_us: int, levels: Array, expected: Array) -> Reading:
    """For `drift.update`: by how much each of LEVELS [4] is nearer to one that has drifted than to what it was.

    Args:
        levels: height, pitch, roll, heading; NaN where they were not told.
        expected: [4], their means in reference driving.
    """
    off = np.nan_to_num(levels - expected, nan=0.0)
    told = np.isfinite(levels)
    gains = np.stack([-off - CHANGES / 2, off - CHANGES / 2], axis=1)
    return Reading(lidar, stamp_us, np.where(told[:, None], gains, 0.0).ravel(), NAMES)


def _standing(points: Array) -> Array:
    return points[(points[:, 2] > WALL_HEIGHT[0]) & (points[:, 2] < WALL_HEIGHT[1]) & (np.abs(points) < 50).all(1)]


def _cell(points: Array) -> Array:
    index = np.floor(points[:, :2] / CELL).astype(np.int64) + 4096
    return index[:, 0] * 8192 + index[:, 1]


def _walls(points: Array) -> tuple[Array, Array, Array]:
    """Centres and normals [k, 2] of cells whose points lie on a line seen from above; the cells' numbers, sorted."""
    cells, member, count = np.unique(_cell(points), return_inverse=True, return_counts=True)
    flat = points[:, :2]
    centre = np.stack([np.bincount(member, flat[:, i], len(cells)) for i in (0, 1)], 1) / count[:, None]
    off = flat - centre[member]
    xx, xy, yy = (np.bincount(member, off[:, i] * off[:, j], len(cells)) / count for i, j in ((0, 0), (0, 1), (1, 1)))
    spread, vectors = np.linalg.eigh(np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2))
    wall = (count >= MIN_WALL_POINTS) & (spread[:, 1] > FLATNESS * spread[:, 0]) & (spread[:, 0] < THICKNESS**2)
    return centre[wall], vectors[wall, :, 0], cells[wall]
