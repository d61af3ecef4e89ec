"""Random crops of streams, mirrored and in both label styles, as tensors.

Shapes: B batch, P past frames, C crop columns a side, R columns to invent, H horizons, K objects.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genie.command import command_of, one_hot
from genie.config import TrainConfig
from genie.grid import CELLS, COLUMN_M, COLUMNS, HEIGHT
from genie.inputs import ENDS
from genie.observation import AXIS, CENTER, HEADING, VECTORS, ObservedScene
from genie.training.scenes import Prepared
from genie.training.targets import MotionScene, TrainingScene
from perception.types import FREE, GRID, GROUND

# What streams made from annotated boxes and a road mask do not have.
_ONLY_OCC3D = np.arange(FREE + 1, dtype=np.uint8)
_ONLY_OCC3D[12:FREE] = FREE
FLIP = np.array([1.0, -1.0, -1.0], np.float32)  # x, y, yaw of a mirrored world
_GROUND = np.isin(np.arange(FREE + 1), GROUND)


class Batch(NamedTuple):
    """Frame 0 of `semantics`, `object_id`, `objects` and `first` is the present, 1..P the past.

    semantics uint8 [B, P+1, 4C, 4C, 16]; object_id int32 [B, P+1, 4C, 4C]; objects float32 [B, P+1, K, F];
    first int64 [B, P+1, 2], corner column of each crop; past_from_now float32 [B, P, 3];
    ego_velocity float32 [B, 3], ego_acceleration float32 [B, 2], command float32 [B, 3], given in half of the samples;
    standing, ground uint8 [B, 16 C C, 16], the present crop without what ends at a border (genie.inputs), and its
        ground alone;
    invent int64 [B, R, 2], columns relative to the corner; invent_truth uint8 [B, R, 256];
    displacement float32 [B, H, K, 3], known bool [B, H, K];
    trajectory float32 [B, H, 3] with NaN where unknown.
    more: objects and ego of M other frames, without their surroundings: they cost next to nothing.
    """

    semantics: Tensor
    object_id: Tensor
    objects: Tensor
    first: Tensor
    past_from_now: Tensor
    ego_velocity: Tensor
    ego_acceleration: Tensor
    command: Tensor
    standing: Tensor
    ground: Tensor
    invent: Tensor
    invent_truth: Tensor
    displacement: Tensor
    known: Tensor
    trajectory: Tensor
    more: MotionBatch

    def to(self, device: torch.device) -> Batch:
        own = {name: part.to(device, non_blocking=True) for name, part in self._asdict().items() if name != "more"}
        return Batch(**own, more=self.more.to(device))


class MotionBatch(NamedTuple):
    """objects float32 [M, K, F], displacement float32 [M, H, K, 3], known bool [M, H, K], trajectory float32 [M, H, 3],
    and the ego's as in Batch."""

    objects: Tensor
    ego_velocity: Tensor
    ego_acceleration: Tensor
    command: Tensor
    displacement: Tensor
    known: Tensor
    trajectory: Tensor

    def to(self, device: torch.device) -> MotionBatch:
        return MotionBatch(*(part.to(device, non_blocking=True) for part in self))


def sample_batch(prepared: Prepared, config: TrainConfig, history: int, rng: np.random.Generator) -> Batch:
    """A batch of crops from random scenes, instants and places."""
    scenes = prepared.scenes
    samples = [_sample(scenes[int(rng.integers(len(scenes)))], config, history, rng) for _ in range(config.batch)]
    own = (torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))
    named = dict(zip(Batch._fields, own, strict=False))
    return Batch(**named, more=sample_motion(prepared.motion, config.motion_frames, rng))


def sample_motion(scenes: list[MotionScene], count: int, rng: np.random.Generator) -> MotionBatch:
    """Frames of random scenes, half of them mirrored."""
    samples = [_sample_objects(scenes[int(rng.integers(len(scenes)))], rng) for _ in range(count)]
    return MotionBatch(*(torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True)))


def _sample_objects(scene: MotionScene, rng: np.random.Generator) -> tuple[NDArray[np.generic], ...]:
    t = int(rng.integers(1, len(scene.objects)))
    mirrored = bool(rng.integers(2))
    flip = FLIP if mirrored else np.ones(3, np.float32)
    objects = _mirror_objects(scene.objects[t]) if mirrored else scene.objects[t]
    trajectory = scene.trajectory[t] * flip
    return (
        objects,
        scene.ego_velocity[t] * flip,
        scene.ego_acceleration[t] * flip[[0, 2]],
        _command(trajectory, rng),
        scene.displacement[t] * flip,
        scene.known[t],
        trajectory,
    )


def _command(trajectory: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Of half of the samples; the head works with and without."""
    return one_hot(command_of(trajectory) if rng.integers(2) else None)


def _sample(
    scene: TrainingScene, config: TrainConfig, history: int, rng: np.random.Generator
) -> tuple[NDArray[np.generic], ...]:
    t = int(rng.integers(history, len(scene.observed)))
    side = config.crop_columns
    first = rng.integers(0, COLUMNS - side + 1, size=2)
    mirrored = bool(rng.integers(2))
    mini = rng.random() < config.mini_style_share
    now = mirror_scene(scene.observed[t]) if mirrored else scene.observed[t]
    crops, corners, past_from_now = [], [], []
    center = (first + side / 2) * COLUMN_M + GRID.origin[0]
    pose = np.zeros(3)
    for p in range(history + 1):
        observed = scene.observed[t - p]
        observed = mirror_scene(observed) if mirrored else observed
        there = _transform(pose, center)
        corner = np.clip(np.round((there - GRID.origin[0]) / COLUMN_M - side / 2), 0, COLUMNS - side).astype(int)
        corner = first if p == 0 else corner
        crops.append(_crop(observed, corner, side))
        corners.append(corner)
        if p:
            past_from_now.append(pose)
        # observed.ego_motion is this frame from the one before it; the composite leads one frame further back.
        pose = _compose(_invert(observed.ego_motion.astype(np.float64)), pose)
    semantics = np.stack([c[0] for c in crops])
    invent = _invent_positions(first, side, config.invented_per_crop, rng)
    truth = _columns_at(now.semantics, invent + first)
    bare = np.where(_GROUND[now.semantics], now.semantics, FREE).reshape(-1, HEIGHT)[now.uncovered.reshape(-1)]
    ends = ENDS[now.semantics].any(-1, keepdims=True)
    standing = np.where(ends, bare.reshape(GRID.shape), now.semantics)
    part = (_cells(first[0], side), _cells(first[1], side))
    standing, ground = (whole[part].reshape(-1, HEIGHT) for whole in (standing, bare.reshape(GRID.shape)))
    if mini:
        semantics, truth, standing, ground = (_ONLY_OCC3D[x] for x in (semantics, truth, standing, ground))
    flip = FLIP if mirrored else np.ones(3, np.float32)
    trajectory = scene.trajectory[t] * flip
    return (
        semantics,
        np.stack([c[1] for c in crops]),
        np.stack([c[2] for c in crops]),
        np.stack(corners).astype(np.int64),
        np.asarray(past_from_now, np.float32).reshape(history, 3),
        now.ego_velocity,
        now.ego_acceleration,
        _command(trajectory, rng),
        standing,
        ground,
        invent.astype(np.int64),
        truth.reshape(len(invent), -1),
        scene.displacement[t] * flip,
        scene.known[t],
        trajectory,
    )


def _crop(scene: ObservedScene, corner: NDArray[np.int64], side: int) -> tuple[NDArray[np.generic], ...]:
    x, y = _cells(int(corner[0]), side), _cells(int(corner[1]), side)
    return scene.semantics[x, y], scene.object_id[x, y], scene.objects


def _cells(first: int, side: int) -> slice:
    return slice(first * CELLS, (first + side) * CELLS)


def _columns_at(semantics: NDArray[np.uint8], columns: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[R, 16, 16] class ids of columns (absolute column indices [R, 2])."""
    blocks = semantics.reshape(COLUMNS, CELLS, COLUMNS, CELLS, HEIGHT)
    return blocks[columns[:, 0], :, columns[:, 1]].reshape(len(columns), CELLS * CELLS, HEIGHT)


def _invent_positions(first: NDArray[np.int64], side: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random columns of the grid outside the crop, near ones more often: [count, 2] relative to the corner."""
    axis = np.arange(COLUMNS)
    gap_x = np.maximum(np.maximum(first[0] - axis, axis - (first[0] + side - 1)), 0)
    gap_y = np.maximum(np.maximum(first[1] - axis, axis - (first[1] + side - 1)), 0)
    distance = np.maximum(gap_x[:, None], gap_y[None, :])
    weight = np.where(distance > 0, 1.0 / (4.0 + distance), 0.0).ravel()
    chosen = rng.choice(weight.size, size=count, replace=False, p=weight / weight.sum())
    return np.stack(np.divmod(chosen, COLUMNS), -1) - first


def mirror_scene(scene: ObservedScene) -> ObservedScene:
    """Left and right exchanged: y -> -y, yaw -> -yaw. Evidence, which training does not read, stays as it is."""
    uncovered = scene.uncovered[:, ::-1]
    x, y = np.divmod(uncovered, GRID.shape[1])
    return scene._replace(
        semantics=scene.semantics[:, ::-1],
        object_id=scene.object_id[:, ::-1],
        uncovered=(x * GRID.shape[1] + GRID.shape[1] - 1 - y).astype(np.int32),
        objects=_mirror_objects(scene.objects),
        ego_motion=scene.ego_motion * FLIP,
        ego_velocity=scene.ego_velocity * FLIP,
        ego_acceleration=scene.ego_acceleration * FLIP[[0, 2]],
    )


def _mirror_objects(objects: NDArray[np.float32]) -> NDArray[np.float32]:
    out = objects.copy()
    for columns in (CENTER, HEADING, *VECTORS, AXIS):
        out[:, columns.start + 1] *= -1
    return out


def _transform(pose: NDArray[np.float64], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.array([cos * xy[0] - sin * xy[1] + pose[0], sin * xy[0] + cos * xy[1] + pose[1]])


def _invert(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.array([-(cos * pose[0] + sin * pose[1]), sin * pose[0] - cos * pose[1], -pose[2]])


def _compose(target_from_middle: NDArray[np.float64], middle_from_source: NDArray[np.float64]) -> NDArray[np.float64]:
    xy = _transform(target_from_middle, middle_from_source[:2])
    return np.array([*xy, target_from_middle[2] + middle_from_source[2]])
