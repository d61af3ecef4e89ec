"""How much the sensors see of each box: what num_lidar_pts and visibility are made of.

Where sensors are written, points are counted and rays are cast; elsewhere both are estimated from the boxes alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, apply, inverse
from genie.data.synth.sensors import CAMERAS, IMAGE_SIZE
from genie.data.synth.world import Boxes, EgoPose, World, in_ego

ANNOTATED_WITHIN = 50.0  # m along x and y of the ego frame: everything that can reach into the labels, and some more


_RAYS = 5  # along each side of a box's face
_SKIN = 0.15  # m before the face of a box that already counts as the box


class RangeFinder(Protocol):
    """What measures along rays: the renderer."""

    def ranges(self, t: float, origins: Array, directions: Array) -> NDArray[np.floating[Any]]:
        """Distance (m) to the first surface, large where there is none, of rays [n, 3] in the recorded world frame at
        `t`; directions are unit vectors."""
        ...


class Evidence(NamedTuple):
    """Of the annotated boxes [n] at one keyframe. points: int64 [n], lidar returns inside. visible: float64 [n], the
    share that is not hidden, 0..1."""

    points: NDArray[np.int64]
    visible: Array


def annotated(boxes: Boxes, ego: EgoPose) -> Boxes:
    """Those near enough to be annotated."""
    return boxes.select((np.abs(in_ego(boxes, ego)[:, :2]) < ANNOTATED_WITHIN).all(1))


def estimate(world: World, t: float) -> Evidence:
    """Without sensors."""
    ego = world.ego(t)
    boxes = annotated(world.boxes(t), ego)
    visible = visible_share(boxes, ego)
    return Evidence(expected_points(boxes, ego, visible), visible)


def count_points(boxes: Boxes, points: Array) -> NDArray[np.int64]:
    """How many of `points` [m, 3] (world frame, m) lie in each box, [n]; the rule of the devkit's points_in_box."""
    counts = np.zeros(len(boxes), np.int64)
    order = np.argsort(points[:, 0], kind="stable")
    ordered = points[order]
    reach = np.hypot(boxes.size[:, 0], boxes.size[:, 1]) / 2
    low, high = (np.searchsorted(ordered[:, 0], boxes.centre[:, 0] + sign * reach) for sign in (-1, 1))
    for b in range(len(boxes)):
        relative = ordered[low[b] : high[b]] - boxes.centre[b]
        cos, sin = np.cos(boxes.yaw[b]), np.sin(boxes.yaw[b])
        along, across = cos * relative[:, 0] + sin * relative[:, 1], cos * relative[:, 1] - sin * relative[:, 0]
        w, length, h = boxes.size[b] / 2
        counts[b] = ((np.abs(along) <= length) & (np.abs(across) <= w) & (np.abs(relative[:, 2]) <= h)).sum()
    return counts


def visible_by_rays(boxes: Boxes, ego: EgoPose, t: float, finder: RangeFinder) -> Array:
    """Share of each box's outside, as far as it faces a camera, that is in its image with nothing before it, [n]."""
    targets, normals = box_faces(boxes)  # [n, k, 3]
    facing, seen = (np.zeros(targets.shape[:2], bool) for _ in range(2))
    asked, rays, origins = [], [], []
    for mount in CAMERAS:
        world_from_camera = ego.world_from_ego @ mount.ego_from_sensor
        ray = targets - world_from_camera[:3, 3]
        towards = (ray * normals).sum(-1) < 0
        facing |= towards
        in_camera = apply(inverse(world_from_camera), targets)
        pixel = in_camera @ np.array(mount.intrinsic).T
        depth = np.maximum(in_camera[..., 2:], 0.1)
        in_image = ((pixel[..., :2] >= 0) & (pixel[..., :2] <= np.array(IMAGE_SIZE) * depth)).all(-1)
        asked.append(np.argwhere(towards & in_image & (in_camera[..., 2] > 0.1)))
        rays.append(ray[tuple(asked[-1].T)])
        origins.append(np.broadcast_to(world_from_camera[:3, 3], rays[-1].shape))
    ray = np.concatenate(rays)
    distance = np.linalg.norm(ray, axis=1)
    reached = finder.ranges(t, np.concatenate(origins), ray / distance[:, None]) > distance - _SKIN
    seen[tuple(np.concatenate(asked)[reached].T)] = True
    return np.asarray(seen.sum(1) / np.maximum(facing.sum(1), 1))


def box_faces(boxes: Boxes) -> tuple[Array, Array]:
    """Points on the five upper faces of the boxes, a little inwards from the edges, and outward normals: [n, k, 3]."""
    side = (np.arange(_RAYS) + 0.5) / _RAYS - 0.5
    u, v = (g.ravel() for g in np.meshgrid(side, side))
    half = np.full_like(u, 0.5)
    faces = [(half, u, v), (-half, u, v), (u, half, v), (u, -half, v), (u, v, half)]
    unit = np.stack([np.stack(face, axis=-1) for face in faces]).reshape(-1, 3)  # x ahead, y left, z up
    outward = np.repeat([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]], len(u), axis=0)
    cos, sin, zero = np.cos(boxes.yaw), np.sin(boxes.yaw), np.zeros(len(boxes))
    turn = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], axis=-1).reshape(-1, 3, 3)
    points = unit * boxes.size[:, None, [1, 0, 2]]
    return np.einsum("nij,nkj->nki", turn, points) + boxes.centre[:, None], np.einsum("nij,kj->nki", turn, outward)


def visible_share(boxes: Boxes, ego: EgoPose, bins: int = 720) -> Array:
    """Share of each box's width in azimuth that no nearer box of similar height hides, [n] in 0..1."""
    relative = boxes.centre[:, :2] - ego.xyz[:2]
    distance = np.maximum(np.linalg.norm(relative, axis=1), 1.0)
    azimuth = np.arctan2(relative[:, 1], relative[:, 0])
    spread = np.hypot(boxes.size[:, 0], boxes.size[:, 1]) / 2 * 0.8
    half = np.arctan2(spread, distance)
    hidden_below = np.zeros(bins)  # height of the tallest nearer box in that direction
    share = np.ones(len(boxes))
    for b in np.argsort(distance, kind="stable"):
        low, high = (azimuth[b] - half[b]) / (2 * np.pi) * bins, (azimuth[b] + half[b]) / (2 * np.pi) * bins
        cells = np.arange(int(np.floor(low)), int(np.floor(high)) + 1) % bins
        height = boxes.size[b, 2]
        share[b] = float((hidden_below[cells] < 0.8 * height).mean())
        hidden_below[cells] = np.maximum(hidden_below[cells], height)
    return share


def expected_points(boxes: Boxes, ego: EgoPose, seen: Array) -> NDArray[np.int64]:
    """Returns that a 32-beam lidar (0.33 x 1.33 deg) would have; at least one, as what has none is not annotated."""
    distance = np.maximum(np.linalg.norm(boxes.centre[:, :2] - ego.xyz[:2], axis=1), 2.0)
    wide = np.degrees((boxes.size[:, 0] + boxes.size[:, 1]) / 2 / distance) / 0.33
    high = np.maximum(1.0, np.degrees(boxes.size[:, 2] / distance) / 1.33)
    return np.maximum(1, np.round(wide * high * seen)).astype(np.int64)
