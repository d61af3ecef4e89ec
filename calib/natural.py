"""Lidar to camera from driving, without a board: where things end for the lidar, the image has edges.

The score of all images together (`agreement.score`) is searched for its highest point: it is sampled around the pose
along each axis and each pair of axes, a quadratic is laid through it, and its top is the next pose. What the scene does
not tell stays as the first guess has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from calib.agreement import in_view, perturbed, project_ends, score
from calib.edges import ImageEdges, LidarEdges, image_edges, lidar_edges
from calib.errors import InputError
from calib.refine import Refined
from calib.rig import Intrinsics
from calib.tables import Keyframe, read_image, read_sweep
from calib.transforms import Array, apply, inverse

SPREADS = (1 / 150, 1 / 400)  # of the image's width: how wide edges are made, first to find the top, then to be exact
STEPS = np.array([*np.radians((0.5, 0.5, 0.5)), 0.05, 0.05, 0.05])  # rad, m: over which the score is sampled
# Which of SPREADS, and how many of STEPS, round by round.
ROUNDS = ((0, 1.0), (0, 1.0), (1, 1.0), (1, 1.0))
GRID = np.radians(np.arange(-4, 5) * 0.5)  # of pitch and yaw, before: the score has other tops as well
FARTHEST = 2.0  # steps that one round may go along an axis
MIN_FRAMES, MIN_ENDS = 6, 800
# Of the first guess: rad, m. Places on a car are known from its drawings, directions from nothing.
PRIOR_SIGMA = np.array([*np.radians((1.5, 1.5, 1.5)), 0.02, 0.02, 0.02])
# What all images share and scatter does not show: beams are 0.33 and 1.33 deg apart, and a thing's end is not the same
# for a camera beside the lidar. In the town errors of this size were left (docs/benchmarks/calibration.md).
SHARED_SIGMA = np.array([*np.radians((0.1, 0.1, 0.2)), 0.01, 0.01, 0.015])


class Frame(NamedTuple):
    """One image, with edges as wide as each of SPREADS, and the ends of one sweep in the ego frame at its stamp (m)."""

    images: tuple[ImageEdges, ...]
    ends: LidarEdges


def read_frames(keyframes: Sequence[Keyframe], camera: str, ego_from_lidar: Array) -> list[Frame]:
    """Of the keyframes in which that camera has an image."""
    out = []
    for keyframe in keyframes:
        edges = lidar_edges(read_sweep(keyframe.lidar.path), ego_from_lidar)
        for measured in keyframe.cameras:
            if measured.channel == camera:
                motion = inverse(measured.world_from_ego) @ keyframe.lidar.world_from_ego @ ego_from_lidar
                image = read_image(measured.path)
                drawn = tuple(image_edges(image, image.shape[1] * spread) for spread in SPREADS)
                ends = LidarEdges(apply(motion, edges.on), apply(motion, edges.off), edges.upright)
                out.append(Frame(drawn, ends))
    return out


def calibrate_natural(frames: Sequence[Frame], intrinsics: Intrinsics, first_guess: Array) -> Refined:
    """camera_from_ego, the lidar's own mount being as given.

    Args:
        frames: of driving past things: at least MIN_FRAMES with MIN_ENDS ends in all.
        first_guess: camera_from_ego [4, 4], to PRIOR_SIGMA; it is an observation as well.

    The covariance takes each image as one observation (what is wrong in it is wrong for all its ends): the inverse
    Hessian of the score, around the scatter of the images' own gradients; and SHARED_SIGMA.

    Raises:
        InputError: too little to see.
    """
    frames = [Frame(f.images, in_view(f.ends, first_guess, intrinsics)) for f in frames]
    count = sum(len(project_ends(f.ends, first_guess, intrinsics).pixel) for f in frames)
    if len(frames) < MIN_FRAMES or count < MIN_ENDS:
        raise InputError(
            f"{len(frames)} images with {count} ends of things",
            expected=f"at least {MIN_FRAMES} images with {MIN_ENDS}",
            fix="use more keyframes, of streets with poles, cars and walls; or calibrate with a board",
        )
    moved = _search(frames, first_guess, intrinsics)
    pose, covariance = perturbed(moved) @ first_guess, np.diag(PRIOR_SIGMA**2)
    for spread, share in ROUNDS:
        steps = STEPS * share
        told = _information(_sample(frames, pose, intrinsics, spread, steps))
        prior = np.diag((steps / PRIOR_SIGMA) ** 2)
        spread_of = np.linalg.inv(told.information + prior)
        step = spread_of @ (told.information @ told.top - prior @ (moved / steps))
        covariance = spread_of * np.outer(steps, steps)
        step = np.clip(step, -FARTHEST, FARTHEST) * steps
        moved = moved + step
        pose = perturbed(step) @ pose
    return Refined(pose, np.add(covariance, np.diag(SHARED_SIGMA**2)), None, count)


class _Samples(NamedTuple):
    """Each image's score around a pose, in steps. gradient: [frames, 6]. hessian: [6, 6], the sum of all."""

    gradient: Array
    hessian: Array


def _scores(frames: Sequence[Frame], pose: Array, intrinsics: Intrinsics, spread: int) -> Array:
    """Of each image, [frames]: times its ends, so that images count by what they show."""
    found = [score(f.images[spread], f.ends, pose, intrinsics) * len(f.ends.on) for f in frames]
    return np.nan_to_num(np.array(found), nan=0.0)


def _search(frames: Sequence[Frame], pose: Array, intrinsics: Intrinsics) -> Array:
    """The correction [6] of pitch and yaw on GRID at which the score is highest."""
    turns = [np.array([pitch, yaw, 0, 0, 0, 0]) for pitch in GRID for yaw in GRID]
    found = [_scores(frames, perturbed(turn) @ pose, intrinsics, 0).sum() for turn in turns]
    return turns[int(np.argmax(found))]


def _sample(frames: Sequence[Frame], pose: Array, intrinsics: Intrinsics, spread: int, steps: Array) -> _Samples:
    def scores(at: Array) -> Array:
        return _scores(frames, perturbed(at * steps) @ pose, intrinsics, spread)

    unit, here = np.eye(6), scores(np.zeros(6))
    low, high = (np.stack([scores(sign * unit[a]) for a in range(6)], 1) for sign in (-1, 1))  # [frames, 6]
    hessian = np.diag((low + high - 2 * here[:, None]).sum(0))
    for a, b in combinations(range(6), 2):
        corners = scores(unit[a] + unit[b]) + scores(-unit[a] - unit[b])
        bent = (corners - (low + high)[:, a] - (low + high)[:, b] + 2 * here).sum() / 2
        hessian[a, b] = hessian[b, a] = bent
    return _Samples((high - low) / 2, hessian)


class _Told(NamedTuple):
    """top: [6], where the score is highest. information: [6, 6] about it; zero along what the score does not tell."""

    top: Array
    information: Array


def _information(samples: _Samples) -> _Told:
    values, axes = np.linalg.eigh(-samples.hessian)
    held = values > 0.02 * values.max()  # along the others the score does not fall both ways
    inverse_hessian = axes[:, held] @ np.diag(1 / values[held]) @ axes[:, held].T
    scatter = samples.gradient - samples.gradient.mean(0)
    between = scatter.T @ scatter * len(scatter) / (len(scatter) - 1)
    spread = inverse_hessian @ between @ inverse_hessian
    inside = axes[:, held].T @ spread @ axes[:, held]
    information = axes[:, held] @ np.linalg.inv(inside) @ axes[:, held].T
    return _Told(inverse_hessian @ samples.gradient.sum(0), information)
