"""Intrinsics of one camera from images of a board. Coverage is judged; images that do not fit are dropped by name."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.board import Board, Corners
from calib.errors import InputError
from calib.rig import Intrinsics, Model
from calib.rig_check import intrinsics_problems
from calib.transforms import Array

CELLS = (8, 6)  # of the image, in which corners are counted
MIN_VIEWS = 8
MIN_REACHED = 0.6  # share of the cells
MIN_TILT_DEG = (
    15.0  # between the most tilted boards and the least, about each axis: without it focal length and distance
)
# cannot be told apart
OUTLIER_SHARE, OUTLIER_FLOOR = 2.5, 0.25  # of the median error, and px: no image below is an outlier
ROUNDS = 5
_DONE = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 200, 1e-10)


class View(NamedTuple):
    """A board seen in the image of that name."""

    name: str
    corners: Corners


class Coverage(NamedTuple):
    """counts: corners in each of CELLS [rows, columns]. reached: share of the cells with any. tilt_deg: how much the
    boards' tilts differ about the image's x and y axes."""

    counts: NDArray[np.int64]
    reached: float
    tilt_deg: tuple[float, float]


class Fit(NamedTuple):
    """What calibration found.

    rms: px, over all corners. errors: px, RMS of each image that was used. sigma_focal: px, standard deviations of fx
    and fy; None for a fisheye (OpenCV does not tell). dropped: names and errors of images that do not fit.
    residuals: [n, 2] (px) at pixels [n, 2].
    """

    intrinsics: Intrinsics
    rms: float
    errors: dict[str, float]
    sigma_focal: tuple[float, float] | None
    dropped: dict[str, float]
    coverage: Coverage
    pixels: Array
    residuals: Array


def calibrate(board: Board, views: list[View], size: tuple[int, int], model: Model) -> Fit:
    """
    Args:
        views: at least MIN_VIEWS.
        size: of all images, width and height (px).
        model: pinhole (5 coefficients) or fisheye (4).

    Raises:
        InputError: too few views, or poor coverage: which part of the image, which tilt.
    """
    if len(views) < MIN_VIEWS:
        raise InputError(
            f"the board was found in {len(views)} images",
            expected=f"at least {MIN_VIEWS}",
            fix="take more images, sharp, with the whole board in them; check --board and --squares",
        )
    _check_reach(count_corners(views, size))
    kept, dropped = list(views), dict[str, float]()
    for _ in range(ROUNDS):
        solved = _solve(board, kept, size, model)
        limit = max(OUTLIER_SHARE * float(np.median(list(solved.errors.values()))), OUTLIER_FLOOR)
        worst = {name: error for name, error in solved.errors.items() if error > limit}
        if not worst:
            break
        dropped |= worst
        kept = [view for view in kept if view.name not in worst]
        if len(kept) < MIN_VIEWS:
            raise InputError(
                f"{len(dropped)} of {len(views)} images do not fit the rest: {', '.join(sorted(dropped))}",
                expected=f"at least {MIN_VIEWS} that agree",
                fix="retake them: hold the board still and flat; check --model",
            )
    counts = count_corners(kept, size)
    reached = _check_reach(counts)
    coverage = Coverage(counts, reached, _check_tilt(solved.tilts_deg))
    for problem in intrinsics_problems(solved.intrinsics):
        raise InputError(
            f"calibration ended at {problem.key} {problem.found}",
            expected=problem.expected,
            fix="check --board, --squares and --model; take more images with the board tilted",
        )
    return Fit(
        solved.intrinsics, solved.rms, solved.errors, solved.sigma_focal, dropped, coverage,
        np.concatenate([view.corners.pixels for view in kept]), solved.residuals,
    )  # fmt: skip


def count_corners(views: list[View], size: tuple[int, int]) -> NDArray[np.int64]:
    """[rows, columns] of CELLS."""
    pixels = np.concatenate([view.corners.pixels for view in views])
    counts, _, _ = np.histogram2d(
        pixels[:, 1], pixels[:, 0], bins=(CELLS[1], CELLS[0]), range=((-0.5, size[1] - 0.5), (-0.5, size[0] - 0.5))
    )
    return counts.astype(np.int64)


def _check_reach(counts: NDArray[np.int64]) -> float:
    reached = float((counts > 0).mean())
    names = [
        f"{row} {column}"
        for row, rows in zip(("top", "middle", "bottom"), np.array_split(counts, 3), strict=True)
        for column, part in zip(("left", "centre", "right"), np.array_split(rows, 3, axis=1), strict=True)
        if not part.any()
    ]
    if reached < MIN_REACHED or names:
        where = f"; none in the {', '.join(names)}" if names else ""
        raise InputError(
            f"poor coverage: corners in {reached:.0%} of the image{where}",
            expected=f"at least {MIN_REACHED:.0%}, and every third each way",
            fix="take more images with the board near the borders and in the corners of the image",
        )
    return reached


def _check_tilt(tilts_deg: Array) -> tuple[float, float]:
    spread = np.percentile(tilts_deg, 90, axis=0) - np.percentile(tilts_deg, 10, axis=0)
    for axis, found in zip(("x (up and down)", "y (left and right)"), spread, strict=True):
        if found < MIN_TILT_DEG:
            raise InputError(
                f"poor variety of tilt: the boards' tilts about the image's {axis} axis differ by {found:.0f} deg",
                expected=f"at least {MIN_TILT_DEG:g} deg",
                fix="take more images with the board tilted this way and that, by 20 to 45 deg",
            )
    return float(spread[0]), float(spread[1])


class _Solution(NamedTuple):
    intrinsics: Intrinsics
    rms: float
    errors: dict[str, float]
    sigma_focal: tuple[float, float] | None
    residuals: Array
    tilts_deg: Array


def _solve(board: Board, views: list[View], size: tuple[int, int], model: Model) -> _Solution:
    points = [board.corners[v.corners.ids][:, None] for v in views]
    pixels = [v.corners.pixels[:, None] for v in views]
    sigma = None
    if model == "fisheye":
        guess = Intrinsics("fisheye", size, (size[0] / 3, size[0] / 3), ((size[0] - 1) / 2, (size[1] - 1) / 2))
        flags = cv2.fisheye.CALIB_RECOMPUTE_EXTRINSIC | cv2.fisheye.CALIB_FIX_SKEW
        _, matrix, distortion, turns, shifts = cv2.fisheye.calibrate(
            points, pixels, size, guess.matrix, np.zeros((4, 1)),
            flags=flags | cv2.fisheye.CALIB_USE_INTRINSIC_GUESS, criteria=_DONE,
        )  # fmt: skip
        expected = [
            cv2.fisheye.projectPoints(p, turn, shift, matrix, distortion)[0]
            for p, turn, shift in zip(points, turns, shifts, strict=True)
        ]
    else:
        _, matrix, distortion, turns, shifts, deviations, _, _ = cv2.calibrateCameraExtended(
            [p.astype(np.float32) for p in points], [q.astype(np.float32) for q in pixels], size,
            np.eye(3), np.zeros(5), flags=0, criteria=_DONE,
        )  # fmt: skip
        sigma = (float(deviations[0, 0]), float(deviations[1, 0]))
        expected = [
            cv2.projectPoints(p, turn, shift, matrix, distortion)[0]
            for p, turn, shift in zip(points, turns, shifts, strict=True)
        ]
    intrinsics = Intrinsics(
        model, size, (float(matrix[0, 0]), float(matrix[1, 1])), (float(matrix[0, 2]), float(matrix[1, 2])),
        tuple(float(v) for v in distortion.ravel()),
    )  # fmt: skip
    residuals = [(q - e).reshape(-1, 2) for q, e in zip(pixels, expected, strict=True)]
    errors = {view.name: _rms(r) for view, r in zip(views, residuals, strict=True)}
    joined = np.concatenate(residuals)
    normals = np.stack([cv2.Rodrigues(turn)[0][:, 2] for turn in turns])
    tilts = np.degrees(np.arctan2(normals[:, [1, 0]], normals[:, 2:]))
    return _Solution(intrinsics, _rms(joined), errors, sigma, joined, tilts)


def _rms(residuals: Array) -> float:
    return float(np.sqrt((residuals**2).sum(1).mean()))
