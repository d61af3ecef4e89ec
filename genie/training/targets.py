"""What a training scene knows beyond its occupancy: which annotated box each component is, and where it goes.

Built once per scene, kept in memory: 170 kB a frame beside the 640 kB of occupancy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def prepare_scene(
    sequence: Sequence, tracks: SceneTracks, on_frame: Callable[[], None] = lambda: None
) -> TrainingScene:
    """Observes the whole stream as the car would and looks up what truly happened."""
    frames = len(sequence)
    observed: list[ObservedScene] = []
    displacement = np.zeros((frames, len(HORIZONS_S), MAX_OBJECTS, 3), np.float32)
    known = np.zeros((frames, len(HORIZONS_S), MAX_OBJECTS), bool)
    state = start_observer()
    for t in range(frames):
        scene, state = observe(sequence.frame(t), state)
        observed.append(scene)
        displacement[t], known[t] = object_targets(scene, sequence, t, tracks)
        on_frame()
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
    best = min((i for i in (index - 1, index) if 0 <= i < len(sequence)), key=lambda i: abs(sequence.timestamp_us[i] - wanted))
    return best if abs(int(sequence.timestamp_us[best]) - wanted) <= 60_000 else None


def object_targets(
    scene: ObservedScene, sequence: Sequence, t: int, tracks: SceneTracks
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """True displacement [H, K, 3] of each object's centroid and turn, moved rigidly with its annotated box."""
    displacement = np.zeros((len(HORIZONS_S), MAX_OBJECTS, 3), np.float32)
    known = np.zeros((len(HORIZONS_S), MAX_OBJECTS), bool)
    stamp = int(sequence.timestamp_us[t])
    now_from_world = inverse(sequence.world_from_ego[t])
    boxes = tracks.at(stamp)
    owner = owning_instance(scene.object_id, boxes, now_from_world)
    count = len(owner)
    rows = {int(instance): row for row, instance in enumerate(boxes.instance)}
    center = scene.objects[:count, CENTER].astype(np.float64)
    here = center @ now_from_world[:2, :2] + sequence.world_from_ego[t][:2, 3]  # in the world
    for h, seconds in enumerate(HORIZONS_S):
        later = tracks.at(stamp + round(seconds * 1e6))
        later_rows = {int(instance): row for row, instance in enumerate(later.instance)}
        for k, instance in enumerate(owner):
            if instance < 0 or int(instance) not in later_rows:
                continue
            now, then = rows[int(instance)], later_rows[int(instance)]
            turn = float(wrap_angle(later.yaw_world[then] - boxes.yaw_world[now]))
            lever = here[k] - boxes.center_world[now, :2]
            cos, sin = np.cos(turn), np.sin(turn)
            turned = np.array([cos * lever[0] - sin * lever[1], sin * lever[0] + cos * lever[1]])
            shift = later.center_world[then, :2] + turned - here[k]
            displacement[h, k, :2] = now_from_world[:2, :2] @ shift
            displacement[h, k, 2] = turn
            known[h, k] = True
    return displacement, known


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
    votes = np.zeros((count, len(boxes.instance)))
    np.add.at(votes, object_id[ix, iy] - 1, inside)
    return np.where(votes.max(axis=1) > 0, boxes.instance[votes.argmax(axis=1)], -1)
