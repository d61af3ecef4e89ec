"""Camera models by OpenCV: pinhole with plumb-bob or rational distortion, and fisheye.

Points and rays are in the camera's frame: x right, y down, z ahead. Both models see only what is ahead of the image
plane (z > 0).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.rig import Intrinsics
from calib.transforms import Array

NEAREST = 0.05  # m ahead of the image plane
_BEYOND = 1.1  # of the widest ray of the image: so far out the distortion polynomial is still trusted
_SOLVE = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 100, 1e-12)


class Projection(NamedTuple):
    """pixels: [n, 2]. valid: bool [n], ahead of the camera, and where the lens model holds; elsewhere pixels are NaN.
    inside: bool [n], valid and in the image."""

    pixels: Array
    valid: NDArray[np.bool_]
    inside: NDArray[np.bool_]


def project(intrinsics: Intrinsics, points: Array) -> Projection:
    """Pixels of points [n, 3] (m). Far outside the image a polynomial folds back: rays beyond it are not valid."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    depth = points[:, 2]
    valid = depth > NEAREST
    with np.errstate(divide="ignore", invalid="ignore"):
        valid &= np.hypot(points[:, 0], points[:, 1]) <= depth * _widest(intrinsics)
    pixels = np.full((len(points), 2), np.nan)
    if valid.any():
        pixels[valid] = _project(intrinsics, points[valid])
    width, height = intrinsics.size
    with np.errstate(invalid="ignore"):
        inside = (pixels >= -0.5).all(1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
    return Projection(pixels, valid, inside)


def unproject(intrinsics: Intrinsics, pixels: Array) -> Array:
    """Unit rays [n, 3] through pixels [n, 2]."""
    pixels = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
    if intrinsics.model == "fisheye":
        return _fisheye_rays(intrinsics, pixels)
    plane = (pixels - intrinsics.centre) / intrinsics.focal
    if any(intrinsics.distortion):
        k, distortion, unit = intrinsics.matrix, intrinsics.coefficients, np.eye(3)
        solved = cv2.undistortPointsIter(pixels[:, None], k, distortion, unit, unit, _SOLVE)
        plane = np.asarray(solved, dtype=np.float64).reshape(-1, 2)
    rays = np.column_stack([plane, np.ones(len(plane))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


class UndistortMaps(NamedTuple):
    """What cv2.remap takes to rectify an image: float32 [h, w] each; and the rectified camera."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    rectified: Intrinsics


def undistort_maps(intrinsics: Intrinsics, rectified: Intrinsics | None = None) -> UndistortMaps:
    """
    Args:
        rectified: a pinhole camera without distortion, in which the image is wanted; by default of the same focal
            length, centre and size.
    """
    target = rectified or Intrinsics("pinhole", intrinsics.size, intrinsics.focal, intrinsics.centre)
    initialise = cv2.fisheye.initUndistortRectifyMap if intrinsics.model == "fisheye" else cv2.initUndistortRectifyMap
    x, y = initialise(intrinsics.matrix, intrinsics.coefficients, np.eye(3), target.matrix, target.size, cv2.CV_32FC1)
    return UndistortMaps(np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32), target)


def _project(intrinsics: Intrinsics, points: Array) -> Array:
    zero = np.zeros(3)
    if intrinsics.model == "fisheye":
        found = cv2.fisheye.projectPoints(points[:, None], zero, zero, intrinsics.matrix, intrinsics.coefficients)
    else:
        found = cv2.projectPoints(points[:, None], zero, zero, intrinsics.matrix, intrinsics.coefficients)
    return np.asarray(found[0], dtype=np.float64).reshape(-1, 2)


def _fisheye_rays(intrinsics: Intrinsics, pixels: Array) -> Array:
    """By Newton's method: OpenCV's own inverse ends where the distorted angle passes 90 degrees."""
    plane = (pixels - intrinsics.centre) / intrinsics.focal
    distorted = np.linalg.norm(plane, axis=1)
    k = np.array([1.0, *intrinsics.coefficients])
    powers = np.arange(5) * 2
    angle = np.minimum(distorted, np.pi / 2)
    for _ in range(20):
        excess = angle * (k * angle[:, None] ** powers).sum(1) - distorted
        slope = (k * (powers + 1) * angle[:, None] ** powers).sum(1)
        angle = np.clip(angle - excess / np.maximum(slope, 1e-3), 0.0, np.pi)
    sideways = np.sin(angle) / np.maximum(distorted, 1e-12)
    return np.column_stack([plane * sideways[:, None], np.cos(angle)])


@cache
def _widest(intrinsics: Intrinsics) -> float:
    """Distance from the axis, at z = 1, of the widest ray of the image, and a margin."""
    width, height = intrinsics.size
    x, y = np.linspace(-0.5, width - 0.5, 65), np.linspace(-0.5, height - 0.5, 65)
    border = np.concatenate(
        [np.column_stack([x, np.full(65, v)]) for v in (y[0], y[-1])]
        + [np.column_stack([np.full(65, u), y]) for u in (x[0], x[-1])]
    )
    rays = unproject(intrinsics, border)
    if (rays[:, 2] < 1e-3).any():  # the corners of a fisheye can lie beyond 90 degrees: then only z > 0 bounds
        return float("inf")
    return float((np.hypot(rays[:, 0], rays[:, 1]) / rays[:, 2]).max() * _BEYOND)
