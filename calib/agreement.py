"""How well a lidar and a camera agree: how strong the image's edges are where the lidar sees things end.

The ends that one sweep tells are projected into the image, and its edge strength across each is sampled between the
beam that met the thing and the one that passed it. The score is highest at the right calibration and falls if that is
turned or shifted either way. It was chosen against drawing each end to the edges around it: things have edges inside
and the sky has none, so that ends are drawn inwards (0.5 deg of pitch in the town).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from calib.camera import project
from calib.edges import ImageEdges, LidarEdges
from calib.rig import Intrinsics
from calib.transforms import Array, apply, se3

MARGIN = 4.0  # px from the border of the image


class Ends(NamedTuple):
    """Ends of things in the image, n of them in it.

    pixel: [n, 2]. normal: [n, 2], unit, towards where the thing is not. spread: [n] (px), from the one beam to the
    other: the end lies between. point: [n, 3] (m), camera frame.
    """

    pixel: Array
    normal: Array
    spread: Array
    point: Array


def project_ends(edges: LidarEdges, camera_from_lidar: Array, intrinsics: Intrinsics) -> Ends:
    """Those whose two beams both fall into the image."""
    on, off = (project(intrinsics, apply(camera_from_lidar, p)) for p in (edges.on, edges.off))
    with np.errstate(invalid="ignore"):
        pixel, across = (on.pixels + off.pixels) / 2, off.pixels - on.pixels
    spread = np.linalg.norm(across, axis=1)
    far = np.array(intrinsics.size) - 1 - MARGIN
    with np.errstate(invalid="ignore"):
        kept = on.inside & off.inside & ((pixel > MARGIN) & (pixel < far)).all(1) & (spread > 1e-6)
    normal = across[kept] / spread[kept, None]
    return Ends(pixel[kept], normal, spread[kept], apply(camera_from_lidar, edges.middle[kept]))


def in_view(edges: LidarEdges, camera_from_lidar: Array, intrinsics: Intrinsics, turn: float = 0.06) -> LidarEdges:
    """Those that the camera sees, or would if it were turned by up to `turn` (rad): so that many poses can be tried."""
    local = apply(camera_from_lidar, edges.middle)
    depth = np.maximum(local[:, 2], 1e-6)
    plane = np.abs(local[:, :2] / depth[:, None]) * intrinsics.focal / np.array(intrinsics.size)
    reach = (
        0.5
        + np.abs(np.array(intrinsics.centre) / intrinsics.size - 0.5)
        + turn * np.array(intrinsics.focal) / intrinsics.size
    )
    return edges.select((local[:, 2] > 0) & (plane <= 1.3 * reach).all(1))


def score(image: ImageEdges, edges: LidarEdges, camera_from_lidar: Array, intrinsics: Intrinsics) -> float:
    """Mean edge strength where the lidar's ends are, each averaged over half its spread (where it may lie), 0 to 1.

    NaN where the image shows no end.
    """
    ends = project_ends(edges, camera_from_lidar, intrinsics)
    if not len(ends.pixel):
        return float("nan")
    steps = np.linspace(-0.5, 0.5, 5)
    at = ends.pixel[:, None] + ends.normal[:, None] * (steps[:, None] * ends.spread[:, None, None] * 0.5)
    x, y = (np.ascontiguousarray(at[..., i], dtype=np.float32) for i in (0, 1))
    layers = [cv2.remap(g, x, y, cv2.INTER_LINEAR) for g in (image.along_x, image.along_y)]
    weight = np.abs(ends.normal)
    return float((layers[0] * weight[:, :1] + layers[1] * weight[:, 1:]).mean())


def perturbation(axis: int, amount: float) -> Array:
    """[4, 4]: a turn about (axis 0-2, rad) or a shift along (3-5, m) an axis of the camera."""
    vector = np.zeros(6)
    vector[axis] = amount
    return perturbed(vector)


def perturbed(vector: Array) -> Array:
    """[4, 4] of a rotation vector (rad) and a translation (m): [6]."""
    rotation = cv2.Rodrigues(np.asarray(vector[:3], dtype=np.float64))[0]
    return se3(np.asarray(vector[3:], dtype=np.float64), np.asarray(rotation))
