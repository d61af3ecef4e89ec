"""Where the lidar sees things end, and where the image changes: the two that a right calibration brings together."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array

NEAREST, FARTHEST = 2.0, 60.0  # m: the car's own body; where gaps between the beams are wider than things
JUMP, JUMP_SHARE = 0.6, 0.08  # m, and share of the range: what counts as the end of a thing
ABOVE_GROUND = 0.4  # m: lower down, the next ring is farther away because the road is flat
GAP = 2.5  # of the usual step between firings: over more, there is no neighbour


class LidarEdges(NamedTuple):
    """Ends of things, each between a beam that met it and its neighbour that passed it.

    on, off: [n, 3] (m, lidar frame): the two beams' directions, both at the range of the nearer thing. The end lies
    somewhere between. upright: bool [n], the beams are neighbours on one ring, so that the end is one to the side.
    """

    on: Array
    off: Array
    upright: NDArray[np.bool_]

    @property
    def middle(self) -> Array:
        return (self.on + self.off) / 2

    def select(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> LidarEdges:
        return LidarEdges(self.on[which], self.off[which], self.upright[which])


def lidar_edges(sweep: NDArray[np.float32], ego_from_lidar: Array) -> LidarEdges:
    """
    Args:
        sweep: [n, >= 5], x, y, z (m), intensity, ring. Points without an echo are those at the sensor.
        ego_from_lidar: [4, 4], tells what is near the ground.
    """
    points = sweep[:, :3].astype(np.float64)
    reach = np.linalg.norm(points, axis=1)
    kept = (reach > NEAREST) & (reach < FARTHEST)
    points, reach, ring = points[kept], reach[kept], sweep[kept, 4].astype(np.int64)
    height = points @ ego_from_lidar[2, :3] + ego_from_lidar[2, 3]
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    order = np.lexsort((azimuth, ring))
    beams = _Beams(points[order], reach[order], ring[order], height[order], azimuth[order])
    side, above = _neighbours_on_ring(beams), _neighbours_above(beams)
    pairs = np.concatenate([side, above])
    upright = np.arange(len(pairs)) < len(side)
    return _ends(beams, pairs, upright)


class _Beams(NamedTuple):
    """Sorted by ring, then azimuth."""

    points: Array
    reach: Array
    ring: NDArray[np.int64]
    height: Array
    azimuth: Array


def _neighbours_on_ring(beams: _Beams) -> NDArray[np.int64]:
    """Pairs of indices [k, 2]."""
    first = np.arange(len(beams.ring) - 1)
    step = beams.azimuth[1:] - beams.azimuth[:-1]
    same = beams.ring[1:] == beams.ring[:-1]
    near = same & (step < GAP * np.median(step[same])) if same.any() else same
    return np.column_stack([first[near], first[near] + 1])


def _neighbours_above(beams: _Beams) -> NDArray[np.int64]:
    """Each beam with that of the next ring whose azimuth is nearest."""
    pairs = []
    starts = {int(r): np.flatnonzero(beams.ring == r) for r in np.unique(beams.ring)}
    for r, low in starts.items():
        high = starts.get(r + 1)
        if high is None or len(high) < 2:
            continue
        at = np.clip(np.searchsorted(beams.azimuth[high], beams.azimuth[low]), 1, len(high) - 1)
        left = beams.azimuth[low] - beams.azimuth[high[at - 1]] < beams.azimuth[high[at]] - beams.azimuth[low]
        nearest = high[at - left.astype(np.int64)]
        close = np.abs(beams.azimuth[nearest] - beams.azimuth[low]) < np.radians(0.4)
        pairs.append(np.column_stack([low[close], nearest[close]]))
    return np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64)


def _ends(beams: _Beams, pairs: NDArray[np.int64], upright: NDArray[np.bool_]) -> LidarEdges:
    reach = beams.reach[pairs]
    rows = np.arange(len(pairs))
    nearer = np.argmin(reach, axis=1) if len(pairs) else np.zeros(0, dtype=np.int64)
    on, off = pairs[rows, nearer], pairs[rows, 1 - nearer]
    jump = np.abs(reach[:, 1] - reach[:, 0]) > np.maximum(JUMP, JUMP_SHARE * reach.min(1, initial=np.inf))
    end = jump & (beams.height[on] > ABOVE_GROUND)
    on, off = on[end], off[end]
    ratio = (beams.reach[on] / beams.reach[off])[:, None]
    return LidarEdges(beams.points[on], beams.points[off] * ratio, upright[end])


class ImageEdges(NamedTuple):
    """How strongly an image changes along x and along y, 0 to 1 against what is around: float32 [h, w] each."""

    along_x: NDArray[np.float32]
    along_y: NDArray[np.float32]


def image_edges(image: NDArray[np.uint8], spread: float) -> ImageEdges:
    """Of a BGR image [h, w, 3]: crests of the gradient, each as wide as `spread` (px) makes it."""
    blur = max(0.75 * spread, 0.8)
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), blur)
    x, y = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)), np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    # Against the strength around: a faint edge on a wall is as good as one against the sky.
    around = 2 * cv2.blur(x + y, (image.shape[1] // 12,) * 2) + 16.0
    return ImageEdges(*(_crests(g, around, axis, spread) for g, axis in ((x, 1), (y, 0))))


def _crests(
    strength: NDArray[np.float32], around: NDArray[np.float32], axis: int, spread: float
) -> NDArray[np.float32]:
    before, after = np.roll(strength, 1, axis), np.roll(strength, -1, axis)
    thin = np.where((strength >= before) & (strength > after), strength / (strength + around), 0)
    return np.asarray(cv2.GaussianBlur(thin.astype(np.float32), (0, 0), spread) * np.float32(spread * 2.5))
