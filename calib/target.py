"""Lidar to camera by a board that both see: its plane, and where it ends.

The camera tells the board's pose from its corners. The lidar's points on the board must lie in that plane, and the
board must end between the last beam that met it and the first that passed it. Boards tilted three ways hold all six
degrees of freedom by their planes; the ends hold them better, and need fewer boards.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.board import Board, Corners
from calib.camera import unproject
from calib.errors import InputError
from calib.refine import Refined, refine
from calib.rig import Intrinsics
from calib.transforms import Array, apply, inverse, se3

MIN_POSES = 4
MIN_POINTS = 30  # of a board's points in a sweep
SEARCH = 0.35  # m around where the first guess says that the board is
PLANE_SIGMA = 0.015  # m, of one point of the lidar
PLANE_TOLERANCE = 3 * PLANE_SIGMA
MAX_ANGLE = np.radians(20.0)  # of that plane against the board's: beyond, it is a wall
MARGIN_SQUARES = 0.25  # white paper around the squares is part of the board
MAX_CONDITION = 1e7  # of the normalised Hessian: above, some direction is held by nothing


class Pair(NamedTuple):
    """One board as both saw it. corners: in the image. sweep: [n, >= 5], x, y, z (m, lidar frame), intensity, ring."""

    name: str
    corners: Corners
    sweep: NDArray[np.float32]


class Sighting(NamedTuple):
    """What one pair tells. camera_from_board: [4, 4]. points: [n, 3], on the board, lidar frame. ends: [k, 3], halfway
    between the beams, and half their distance [k] (m)."""

    name: str
    camera_from_board: Array
    points: Array
    ends: Array
    half_gap: Array


class TargetFit(NamedTuple):
    """camera_from_lidar with its covariance; names of the pairs used, and of those left out with the reason."""

    refined: Refined
    used: list[str]
    left_out: dict[str, str]


def board_pose(board: Board, corners: Corners, intrinsics: Intrinsics) -> Array:
    """camera_from_board [4, 4] from corners in an image."""
    rays = unproject(intrinsics, corners.pixels)
    plane = rays[:, :2] / rays[:, 2:]
    points = board.corners[corners.ids]
    _, turn, shift = cv2.solvePnP(points, plane, np.eye(3), np.zeros(4), flags=cv2.SOLVEPNP_IPPE)
    turn, shift = cv2.solvePnPRefineLM(points, plane, np.eye(3), np.zeros(4), turn, shift)
    rotation = np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64)
    return se3(np.asarray(shift, dtype=np.float64).ravel(), rotation)


def calibrate_target(board: Board, pairs: list[Pair], intrinsics: Intrinsics, first_guess: Array) -> TargetFit:
    """
    Args:
        first_guess: camera_from_lidar [4, 4], to a few degrees and a decimetre: it tells which points are the board.

    Raises:
        InputError: too few boards that both see, or boards that leave a direction open.
    """
    pose = first_guess
    for _ in range(3):  # the search for the board's points begins from a better guess each time
        sightings: list[Sighting] = []
        left_out: dict[str, str] = {}
        for pair in pairs:
            found = _sight(board, pair, intrinsics, pose)
            if isinstance(found, str):
                left_out[pair.name] = found
            else:
                sightings.append(found)
        if len(sightings) < MIN_POSES:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise InputError(
                f"{len(sightings)} boards seen by both the camera and the lidar ({reasons or 'no others'})",
                expected=f"at least {MIN_POSES}",
                fix="hold the board at 3 to 8 m, free of walls; check that the rig's extrinsics are roughly right",
            )
        refined = refine(partial(_residuals, board, tuple(sightings)), pose)
        pose = refined.pose
    _check_held(refined)
    return TargetFit(refined, [s.name for s in sightings], left_out)


def _check_held(refined: Refined) -> None:
    scale = np.sqrt(np.diag(refined.covariance))
    values = np.linalg.eigvalsh(refined.covariance / np.outer(scale, scale))
    if not np.isfinite(values).all() or values.max() / max(values.min(), 1e-30) > MAX_CONDITION:
        raise InputError(
            "the boards leave a direction open: all are tilted alike",
            expected="boards tilted up and down, and left and right",
            fix="take more pairs with other tilts",
        )


def _size(board: Board) -> tuple[Array, Array]:
    """Lowest and highest x and y of the board (m), paper included."""
    margin = MARGIN_SQUARES * board.square
    return np.array([-margin, -margin]), np.array(board.extent) + margin


def _sight(board: Board, pair: Pair, intrinsics: Intrinsics, pose: Array) -> Sighting | str:
    """The board's points and ends in a sweep, or why there are none."""
    camera_from_board = board_pose(board, pair.corners, intrinsics)
    points = pair.sweep[:, :3].astype(np.float64)
    local = apply(inverse(camera_from_board) @ pose, points)
    low, high = _size(board)
    near = (local[:, :2] > low - SEARCH).all(1) & (local[:, :2] < high + SEARCH).all(1) & (np.abs(local[:, 2]) < SEARCH)
    near &= np.linalg.norm(points, axis=1) > 1.0
    if near.sum() < MIN_POINTS:
        return f"{near.sum()} lidar points near it"
    normal, offset = _plane(points[near])
    expected = (inverse(pose) @ camera_from_board)[:3, 2]
    angle = float(np.arccos(np.clip(abs(normal @ expected), 0.0, 1.0)))
    if angle > MAX_ANGLE:
        return f"the plane there is {np.degrees(angle):.0f} deg off the board's"
    on = near.copy()
    on[near] = np.abs(points[near] @ normal - offset) < PLANE_TOLERANCE
    if on.sum() < MIN_POINTS:
        return f"{on.sum()} lidar points in its plane"
    ends, gaps = _ends(pair.sweep, on)
    # Points at the very border may have met it with half a beam: they tell where it ends, not how far away it is.
    inside = on & (local[:, :2] > low).all(1) & (local[:, :2] < high).all(1)
    return Sighting(pair.name, camera_from_board, points[inside if inside.sum() >= MIN_POINTS else on], ends, gaps)


def _plane(points: Array, draws: int = 100) -> tuple[Array, float]:
    """Normal and offset of the plane that most points [n, 3] lie in (RANSAC, then least squares)."""
    rng = np.random.default_rng(0)
    best = np.zeros(len(points), dtype=bool)
    for _ in range(draws):
        a, b, c = points[rng.choice(len(points), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length > 1e-6:
            close = np.abs((points - a) @ (normal / length)) < PLANE_TOLERANCE
            best = close if close.sum() > best.sum() else best
    chosen = points[best] if best.sum() >= 3 else points
    centre = chosen.mean(0)
    normal = np.linalg.svd(chosen - centre, full_matrices=False)[2][2]
    return normal, float(normal @ centre)


def _ends(sweep: NDArray[np.float32], on: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Along each ring, in the order of firing: where a run of points on the board begins and ends, [k, 3], and half the
    distance between the two beams, [k] (m)."""
    middles, halves = [], []
    for ring in np.unique(sweep[on, 4]):
        row = np.flatnonzero(sweep[:, 4] == ring)
        points, met = sweep[row, :3].astype(np.float64), on[row]
        first, last = np.flatnonzero(met)[[0, -1]]
        if last - first + 1 > met.sum() + 1 or last - first < 3 or first < 2 or last > len(row) - 3:
            continue  # more than one beam is missing inside: something hides part of it
        for edge, inward in ((first, 1), (last, -1)):
            # The beam beyond met something else: where it would have met the plane is one step further.
            step = (points[edge] - points[edge + 2 * inward]) / 2
            middles.append(points[edge] + step / 2)
            halves.append(float(np.linalg.norm(step)) / 2)
    return np.array(middles).reshape(-1, 3), np.array(halves)


def _residuals(board: Board, sightings: tuple[Sighting, ...], pose: Array) -> Array:
    """In standard deviations. An end lies anywhere between two beams: its deviation is half their gap / sqrt(3)."""
    low, high = _size(board)
    out = []
    for s in sightings:
        board_from_lidar = inverse(s.camera_from_board) @ pose
        # A board's hundreds of points share the error of the camera's pose: they count as fewer than they are.
        share = np.sqrt(min(1.0, 100 / len(s.points)))
        out.append(apply(board_from_lidar, s.points)[:, 2] / PLANE_SIGMA * share)
        if len(s.ends):
            local = apply(board_from_lidar, s.ends)[:, :2]
            beyond = np.concatenate([low - local, local - high], axis=1)  # [k, 4], positive outside of each side
            # The greatest is the distance to the nearest side, and has no step where another becomes the nearest.
            out.append(beyond.max(1) / (s.half_gap / np.sqrt(3)))
    return np.concatenate(out)
