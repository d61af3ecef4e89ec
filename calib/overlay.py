"""Lidar points drawn on an image, coloured by depth: what a person looks at to judge a calibration."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.agreement import project_ends
from calib.camera import project
from calib.edges import LidarEdges
from calib.rig import Intrinsics
from calib.transforms import Array, apply

NEAR, FAR = 2.0, 60.0  # m, the ends of the colour scale (red to blue)
_END = (255, 0, 255)  # BGR


def draw_points(
    image: NDArray[np.uint8], points: Array, camera_from_lidar: Array, intrinsics: Intrinsics
) -> NDArray[np.uint8]:
    """A copy of the BGR image with the points [n, 3] (m, lidar frame) that it sees; near ones over far ones."""
    local = apply(camera_from_lidar, points)
    seen = project(intrinsics, local)
    depth, pixels = local[seen.inside, 2], seen.pixels[seen.inside]
    order = np.argsort(-depth)
    level = 1 - np.log(np.clip(depth, NEAR, FAR) / NEAR) / np.log(FAR / NEAR)
    colours = cv2.applyColorMap(np.round(level * 255).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0]
    out, radius = image.copy(), max(1, round(image.shape[1] / 550))
    for (u, v), colour in zip(np.round(pixels[order]).astype(int), colours[order], strict=True):
        cv2.circle(out, (int(u), int(v)), radius, [int(c) for c in colour], -1, cv2.LINE_AA)
    return out


def draw_ends(
    image: NDArray[np.uint8], edges: LidarEdges, camera_from_lidar: Array, intrinsics: Intrinsics
) -> NDArray[np.uint8]:
    """A copy of the image with the ends of things: a stroke from the beam that met each to the one that passed it."""
    ends = project_ends(edges, camera_from_lidar, intrinsics)
    out = image.copy()
    half = ends.normal * (ends.spread[:, None] / 2)
    for first, second in zip(
        np.round(ends.pixel - half).astype(int), np.round(ends.pixel + half).astype(int), strict=True
    ):
        cv2.line(out, first.tolist(), second.tolist(), _END, max(1, round(image.shape[1] / 800)), cv2.LINE_AA)
    return out


def caption(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A copy with a line of text in the top left corner."""
    out, scale = image.copy(), image.shape[1] / 1600
    at, font = (round(16 * scale), round(44 * scale)), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(out, text, at, font, 1.2 * scale, (0, 0, 0), max(2, round(6 * scale)), cv2.LINE_AA)
    cv2.putText(out, text, at, font, 1.2 * scale, (255, 255, 255), max(1, round(2 * scale)), cv2.LINE_AA)
    return out
