"""What a training scene knows beyond its occupancy: which annotated box each component is, and where it goes.

Built once per scene, kept in memory: 170 kB a frame beside the 640 kB of occupancy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import inverse, planar, wrap_angle
from genie.data.sequence import Sequence
from genie.data.tracks import Boxes, SceneTracks
from genie.objects import MAX_OBJECTS
from genie.observation import CENTER, ObservedScene, observe, start_observer
from perception.types import GRID, HORIZONS_S


@dataclass(frozen=True)
class TrainingScene:
    """One stream, prepared.

    observed:      one ObservedScene a frame.
    displacement:  float32 [T, H, K, 3], true shift x, y (m) and turn (rad) of each object in the ego frame at t.
    known:         bool [T, H, K], whether that is annotated.
    trajectory:    float32 [T, H, 3], true future ego poses in the ego frame at t; NaN past the end.
    """

    sequence: Sequence
    observed: list[ObservedScene]
    displacement: NDArray[np.float32]
    known: NDArray[np.bool_]
    trajectory: NDArray[np.float32]

    def motion(self) -> MotionScene:
        """What moves, without its surroundings."""
        objects, velocity, acceleration = (
            np.stack(parts)
            for parts in zip(*((o.objects, o.ego_velocity, o.ego_acceleration) for o in self.observed), strict=True)
        )
        return MotionScene(objects, velocity, acceleration, self.displacement, self.known, self.trajectory)


class MotionScene(NamedTuple):
    """A stream's objects float32 [T, K, F] and the ego's velocity [T, 3] and acceleration [T, 2] alone, and what truly
    happens as TrainingScene has it: 30 kB a frame."""

    objects: NDArray[np.float32]
    ego_velocity: NDArray[np.float32]
    ego_acceleration: NDArray[np.float32]
    displacement: NDArray[np.float32]
    known: NDArray[np.bool_]
    trajectory: NDArray[np.float32]


class ObjectTargets(NamedTuple):
    """displacement float32 [H, K, 3] (m, m, rad) in the present ego frame; known bool [H, K]."""

    displacement: NDArray[np.float32]
    known: NDArray[np.bool_]


def prepare_scene(
    sequence: Sequence, tracks: SceneTracks, on_frame: Callable[[], None] = lambda: None
) -> TrainingScene:
    """Observes the whole stream as the car would and looks up what truly happened."""
    frames = len(sequence)
    observed: list[ObservedScene] = []
    targets: list[ObjectTargets] = []
    boxes_at = functools.cache(tracks.at)  # streams are regular: a frame's horizons are other frames' stamps
    state = start_observer(keep_evidence=False)
    for t in range(frames):
        scene, state = observe(sequence.frame(t), state)
        stamp = int(sequence.timestamp_us[t])
        later = [boxes_at(stamp + round(seconds * 1e6)) for seconds in HORIZONS_S]
        observed.append(scene)
        targets.append(object_targets(scene, sequence.world_from_ego[t], boxes_at(stamp), later))
        on_frame()
    displacement = np.stack([t.displacement for t in targets])
    known = np.stack([t.known for t in targets])
    return TrainingScene(sequence, observed, displacement, known, trajectory_targets(sequence))


def trajectory_targets(sequence: Sequence) -> NDArray[np.float32]:
    """Future ego poses [T, H, 3], NaN where the stream has no frame within 60 ms of the horizon."""
    out = np.full((len(sequence), len(HORIZONS_S), 3), np.nan, np.float32)
    for t in range(len(sequence)):
        now_from_world = inverse(sequence.world_from_ego[t])
        for h, seconds in enumerate(HORIZONS_S):
            then = future_frame(sequence, t, seconds)
            if then is not None:
                out[t, h] = planar(now_from_world @ sequence.world_from_ego[then])
    return out


def future_frame(sequence: Sequence, t: int, seconds: float) -> int | None:
    """Index of the frame `seconds` after frame t, if there is one within 60 ms."""
    wanted = sequence.timestamp_us[t] + round(seconds * 1e6)
    index = int(np.searchsorted(sequence.timestamp_us, wanted))
    best = min(
        (i for i in (index - 1, index) if 0 <= i < len(sequence)), key=lambda i: abs(sequence.timestamp_us[i] - wanted)
    )
    return best if abs(int(sequence.timestamp_us[best]) - wanted) <= 60_000 else None


def object_targets(
    scene: ObservedScene, world_from_ego: NDArray[np.float64], now: Boxes, later: list[Boxes]
) -> ObjectTargets:
    """What truly happens to each object, moved rigidly with its annotated box.

    Args:
        now: the boxes at the frame's stamp; later: those at each horizon after it.
    """
    ego_from_world = inverse(world_from_ego)
    displacement = np.zeros((len(HORIZONS_S), MAX_OBJECTS, 3), np.float32)
    known = np.zeros((len(HORIZONS_S), MAX_OBJECTS), bool)
    owner = owning_instance(scene.object_id, now, ego_from_world)
    count = len(owner)
    here = scene.objects[:count, CENTER] @ world_from_ego[:2, :2].T + world_from_ego[:2, 3]
    row_now, annotated = _rows_of(owner, now)
    for h, boxes in enumerate(later):
        row_then, still = _rows_of(owner, boxes)
        ok = annotated & still
        turn = wrap_angle(boxes.yaw_world[row_then[ok]] - now.yaw_world[row_now[ok]])
        lever = here[ok] - now.center_world[row_now[ok], :2]
        cos, sin = np.cos(turn), np.sin(turn)
        turned = np.stack([cos * lever[:, 0] - sin * lever[:, 1], sin * lever[:, 0] + cos * lever[:, 1]], -1)
        shift = boxes.center_world[row_then[ok], :2] + turned - here[ok]
        known[h, :count] = ok
        displacement[h, :count][ok, :2] = shift @ ego_from_world[:2, :2].T
        displacement[h, :count][ok, 2] = turn
    return ObjectTargets(displacement, known)


def _rows_of(instances: NDArray[np.int64], boxes: Boxes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row of each instance in `boxes`, and whether it is there."""
    if not len(boxes.instance):
        return np.zeros(len(instances), np.int64), np.zeros(len(instances), bool)
    order = np.argsort(boxes.instance)
    place = np.searchsorted(boxes.instance[order], instances).clip(0, len(order) - 1)
    rows = order[place]
    return rows, boxes.instance[rows] == instances


def owning_instance(
    object_id: NDArray[np.int32], boxes: Boxes, ego_from_world: NDArray[np.float64]
) -> NDArray[np.int64]:
    """For each component the instance whose box covers most of its cells, or -1, [n]."""
    ix, iy = np.nonzero(object_id)
    count = int(object_id.max())
    if not count or not len(boxes.instance):
        return np.full(count, -1, np.int64)
    xy = np.stack([ix, iy], -1) * GRID.voxel_size + GRID.origin[0] + GRID.voxel_size / 2
    center = boxes.center_world @ ego_from_world[:3, :3].T + ego_from_world[:3, 3]
    yaw = boxes.yaw_world + np.arctan2(ego_from_world[1, 0], ego_from_world[0, 0])
    offset = xy[:, None] - center[None, :, :2]
    cos, sin = np.cos(yaw), np.sin(yaw)
    along = np.abs(offset[..., 0] * cos + offset[..., 1] * sin)
    across = np.abs(offset[..., 1] * cos - offset[..., 0] * sin)
    half = np.maximum(boxes.size_lwh[:, :2], GRID.voxel_size) / 2 + 0.1
    inside = (along <= half[:, 0]) & (across <= half[:, 1])
    who = object_id[ix, iy]
    order = np.argsort(who, kind="stable")
    starts = np.searchsorted(who[order], np.arange(1, count + 1))
    votes = np.add.reduceat(inside[order].astype(np.int32), starts, axis=0)
    return np.where(votes.max(axis=1) > 0, boxes.instance[votes.argmax(axis=1)], -1)
