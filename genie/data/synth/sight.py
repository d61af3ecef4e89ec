"""What the ego can see in plan: how far the walls let it look, and which parts of vehicles nobody stands before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.polylines import Array, unit
from genie.data.synth.scenery import CELL, GROUND_Z, Scenery
from genie.data.synth.world import Boxes, EgoPose
from perception.types import FREE

BINS = 720  # of azimuth
RANGE = 60.0  # m
EYE_Z = GROUND_Z + 3  # z index of the layer that hides cars: 1.0 to 1.4 m above the ground
LIDAR_AHEAD = 0.94  # m from the ego frame to the eye
_DIRECTIONS = unit((np.arange(BINS) + 0.5) * 2 * np.pi / BINS)
_CORNERS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
_STEPS = np.arange(1.0, RANGE, 0.4)


def eye_of(ego: EgoPose) -> Array:
    """Where the ego looks from, [2] (m)."""
    return ego.xyz[:2] + LIDAR_AHEAD * unit(ego.yaw)


def azimuth_bin(relative: Array) -> NDArray[np.int64]:
    """Of vectors [..., 2]."""
    azimuth = np.arctan2(relative[..., 1], relative[..., 0]) % (2 * np.pi)
    return np.minimum((azimuth / (2 * np.pi) * BINS).astype(np.int64), BINS - 1)


def opaque(scenery: Scenery) -> NDArray[np.bool_]:
    """Cells of the scenery that one cannot look through, [nx, ny]."""
    return (scenery.palette[:, EYE_Z] != FREE)[scenery.column]


def wall_range(blocks: NDArray[np.bool_], eye: Array) -> Array:
    """Distance (m) to the nearest opaque cell in each azimuth bin, [BINS]; inf beyond RANGE."""
    cells = ((eye + _STEPS[:, None, None] * _DIRECTIONS) / CELL).astype(np.int32)
    cells = np.clip(cells, 0, np.array(blocks.shape, np.int32) - 1)
    hit = blocks[cells[..., 0], cells[..., 1]]
    return np.where(hit.any(0), _STEPS[hit.argmax(0)], np.inf)


def seen_bins(boxes: Boxes, eye: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which azimuth bins each box spans, and in which of them no nearer box of similar height hides it, [n, BINS]."""
    relative = boxes.centre[:, :2] - eye
    distance = np.maximum(np.linalg.norm(relative, axis=1), 1.0)
    azimuth = np.arctan2(relative[:, 1], relative[:, 0])
    ahead = unit(boxes.yaw)[:, None] * boxes.size[:, None, 1:2] / 2
    aside = unit(boxes.yaw + np.pi / 2)[:, None] * boxes.size[:, None, 0:1] / 2
    corners = relative[:, None] + _CORNERS[:, :1] * ahead + _CORNERS[:, 1:] * aside
    turn = np.arctan2(corners[..., 1], corners[..., 0]) - azimuth[:, None]
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    bins = (np.arange(BINS) + 0.5) * 2 * np.pi / BINS - azimuth[:, None]
    bins = (bins + np.pi) % (2 * np.pi) - np.pi
    slack = np.pi / BINS
    spans = (bins >= turn.min(1, keepdims=True) - slack) & (bins <= turn.max(1, keepdims=True) + slack)
    order = np.argsort(distance, kind="stable")
    tallest = np.maximum.accumulate(np.where(spans, boxes.size[:, 2:], 0.0)[order], axis=0)
    before = np.zeros_like(tallest)
    before[order[1:]] = tallest[:-1]
    return spans, spans & (before < 0.8 * boxes.size[:, 2:])
