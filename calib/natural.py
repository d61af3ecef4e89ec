"""Lidar to camera from driving, without a board: where things end for the lidar, the image has edges.

Each end looks for the image's edges along its normal and is drawn to where they are on average, near ones counting more
(expectation); the pose is moved by least squares to meet them (maximisation), and the look narrows. What is wrongly drawn
from one end is drawn the other way from another: many ends of many images make up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.agreement import Ends, perturbed, project_ends, strength
from calib.edges import ImageEdges, LidarEdges, image_edges, lidar_edges
from calib.errors import InputError
from calib.refine import Refined
from calib.rig import Intrinsics
from calib.tables import Keyframe, read_image, read_sweep
from calib.transforms import Array, apply, inverse

WIDTHS = (1 / 80, 1 / 130, 1 / 200, 1 / 270, 1 / 270)  # of the image's width: how far an end looks, round by round
SPREAD = 1 / 400  # of the image's width: how wide an edge is made
ROUNDS = 4  # steps at each width
MIN_FRAMES, MIN_ENDS = 6, 1000
PRIOR_SIGMA = np.array([*np.radians((1.0, 1.0, 1.0)), 0.05, 0.05, 0.05])  # of the first guess: rad, m
_DELTA = np.array([*np.radians((0.05, 0.05, 0.05)), 0.005, 0.005, 0.005])  # over which the pull's slope is taken


class Frame(NamedTuple):
    """One image and the ends of one sweep, in the ego frame at the image's stamp (m)."""

    image: ImageEdges
    ends: LidarEdges


class Pull(NamedTuple):
    """What the frames say of a pose. gradient: [frames, 6], of each. hessian: [6, 6]. rms: px. count: of ends."""

    gradient: Array
    hessian: Array
    rms: float
    count: int


def read_frames(keyframes: Sequence[Keyframe], camera: str, ego_from_lidar: Array) -> list[Frame]:
    """Of the keyframes in which that camera has an image."""
    out = []
    for keyframe in keyframes:
        edges = lidar_edges(read_sweep(keyframe.lidar.path), ego_from_lidar)
        for measured in keyframe.cameras:
            if measured.channel == camera:
                motion = inverse(measured.world_from_ego) @ keyframe.lidar.world_from_ego
                image = read_image(measured.path)
                drawn = image_edges(image, image.shape[1] * SPREAD)
                out.append(Frame(drawn, in_ego(edges, motion @ ego_from_lidar)))
    return out


def in_ego(edges: LidarEdges, ego_from_lidar: Array) -> LidarEdges:
    """The ends in the ego frame at another stamp: ego_from_lidar includes the motion in between."""
    return LidarEdges(apply(ego_from_lidar, edges.on), apply(ego_from_lidar, edges.off), edges.upright)


def calibrate_natural(frames: Sequence[Frame], intrinsics: Intrinsics, first_guess: Array) -> Refined:
    """camera_from_ego, the lidar's own mount being as given.

    Args:
        frames: of driving past things: at least MIN_FRAMES with MIN_ENDS ends in all.
        first_guess: camera_from_ego [4, 4], to PRIOR_SIGMA; it is an observation as well, so that what the scene does
            not tell stays as it was.

    The covariance takes each image as one observation: what is wrong in it is wrong for all of its ends.

    Raises:
        InputError: too little to see.
    """
    pose, prior = first_guess, np.diag(PRIOR_SIGMA**-2.0)
    moved = np.zeros(6)
    for width in WIDTHS:
        for _ in range(ROUNDS):
            pull = _pull(frames, pose, intrinsics, width)
            _check(frames, pull)
            step = np.linalg.solve(pull.hessian + prior, pull.gradient.sum(0) - prior @ moved)
            moved = moved + step
            pose = perturbed(step) @ pose
    final = WIDTHS[-1]
    pull = _pull(frames, pose, intrinsics, final)
    # Ends are drawn only part of the way: the pull's slope, not the Hessian, tells how far off a pose is.
    slope = np.zeros((6, 6))
    for axis, delta in enumerate(_DELTA):
        change = np.zeros(6)
        change[axis] = delta
        ahead, behind = (
            _pull(frames, perturbed(s * change) @ pose, intrinsics, final).gradient.sum(0) for s in (1, -1)
        )
        slope[:, axis] = (ahead - behind) / (2 * delta)
    scatter = pull.gradient - pull.gradient.mean(0)
    between = scatter.T @ scatter * len(frames) / max(len(frames) - 1, 1)
    bread = np.linalg.inv(prior - slope)
    covariance = bread @ (between + prior) @ bread.T
    return Refined(pose, covariance, pull.rms, pull.count)


def _check(frames: Sequence[Frame], pull: Pull) -> None:
    if len(frames) < MIN_FRAMES or pull.count < MIN_ENDS:
        raise InputError(
            f"{len(frames)} images with {pull.count} ends of things",
            expected=f"at least {MIN_FRAMES} images with {MIN_ENDS}",
            fix="use more keyframes, of streets with poles, cars and walls; or calibrate with a board",
        )


def _pull(frames: Sequence[Frame], pose: Array, intrinsics: Intrinsics, width: float) -> Pull:
    look = width * intrinsics.size[0]
    offsets = np.arange(-np.ceil(2.5 * look), np.ceil(2.5 * look) + 1)
    bell = np.exp(-0.5 * (offsets / look) ** 2)
    gradients, hessian, squares, total, count = [], np.zeros((6, 6)), 0.0, 0.0, 0
    for frame in frames:
        ends = project_ends(frame.ends, pose, intrinsics)
        drawn = strength(frame.image, ends, offsets).astype(np.float64) ** 2 * bell
        mass = drawn.sum(1)
        residual = (drawn @ offsets) / np.maximum(mass, 1e-9)
        # Less where there is hardly an edge, and where the lidar itself leaves open where the thing ends.
        weight = mass / (mass + 0.05 * look) / (1 + (ends.spread / look) ** 2 / 12) / look**2
        jacobian = normal_motion(ends, intrinsics)
        gradients.append(jacobian.T @ (weight * residual))
        hessian += jacobian.T @ (jacobian * weight[:, None])
        squares, total, count = (
            squares + float((weight * residual**2).sum()),
            total + float(weight.sum()),
            count + len(mass),
        )
    return Pull(np.array(gradients), hessian, float(np.sqrt(squares / max(total, 1e-12))), count)


def normal_motion(ends: Ends, intrinsics: Intrinsics) -> NDArray[np.float64]:
    """[n, 6]: px along its normal by which an end moves per rad and m of perturbed(x) @ pose.

    Of the pinhole camera alone: a lens's distortion changes it by a few percent, and the pull by as much.
    """
    x, y, z = ends.point.T
    fx, fy = intrinsics.focal
    zero = np.zeros_like(z)
    u = np.stack([fx / z, zero, -fx * x / z**2], 1)
    v = np.stack([zero, fy / z, -fy * y / z**2], 1)
    by_shift = ends.normal[:, :1] * u + ends.normal[:, 1:] * v
    return np.column_stack([np.cross(ends.point, by_shift), by_shift])
