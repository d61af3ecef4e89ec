"""Annotated boxes of a scene at any time: linear between keyframes, as the 10 Hz stream has them.

Shapes: B boxes at one instant, S track segments (one per pair of consecutive annotations of an instance, and one of
no length for its last annotation, so that a box exists from its first annotation to its last, inclusive).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import se3_from_quaternion, wrap_angle, yaw_of
from genie.data.nuscenes import find_scene
from perception.types import CLASS_NAMES

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

Array = NDArray[np.float64]

# The lidarseg merge that Occ3D uses: what it does not name is "others".
_CLASS_OF_CATEGORY: dict[str, str] = {
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}


def occupancy_class(category: str) -> int:
    """Occ3D class id of a nuScenes category name."""
    return CLASS_NAMES.index(_CLASS_OF_CATEGORY.get(category, "others"))


@dataclass(frozen=True)
class Boxes:
    """Annotated boxes at one instant.

    instance:       int64 [B], index of the instance within the scene: the same object has the same index at all times.
    class_id:       int64 [B], Occ3D class.
    center_world:   float64 [B, 3] (m).
    size_lwh:       float64 [B, 3], length (along the heading), width, height (m).
    yaw_world:      float64 [B] (rad).
    velocity_world: float64 [B, 2] (m/s), as the devkit's box_velocity at keyframes; NaN where it cannot tell.
    """

    instance: NDArray[np.int64]
    class_id: NDArray[np.int64]
    center_world: Array
    size_lwh: Array
    yaw_world: Array
    velocity_world: Array

    def __len__(self) -> int:
        return len(self.instance)

    @property
    def speed(self) -> Array:
        """float64 [B] (m/s); NaN where unknown."""
        return np.hypot(self.velocity_world[:, 0], self.velocity_world[:, 1])

    def select(self, keep: NDArray[np.bool_]) -> Boxes:
        """The boxes where `keep` [B] is true."""
        return Boxes(
            self.instance[keep],
            self.class_id[keep],
            self.center_world[keep],
            self.size_lwh[keep],
            self.yaw_world[keep],
            self.velocity_world[keep],
        )


@dataclass(frozen=True)
class SceneTracks:
    """All annotated tracks of one scene as segments between consecutive annotations.

    instance, class_id:             int64 [S].
    start_us, end_us:               int64 [S]; equal for the closing segment of a track.
    center, size, yaw, velocity:    at the start: [S, 3], [S, 3] (l, w, h), [S], [S, 2].
    center_step, size_step, yaw_step, velocity_step: end minus start (yaw: the short way round).
    tokens:                         instance tokens, by index.
    """

    instance: NDArray[np.int64]
    class_id: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    center: Array
    center_step: Array
    size: Array
    size_step: Array
    yaw: Array
    yaw_step: Array
    velocity: Array
    velocity_step: Array
    tokens: tuple[str, ...]

    def at(self, timestamp_us: int) -> Boxes:
        """The boxes at a time; none outside the annotated span. Sorted by instance."""
        rows = np.flatnonzero(
            (self.start_us <= timestamp_us) & (timestamp_us < np.maximum(self.end_us, self.start_us + 1))
        )
        span = np.maximum(self.end_us[rows] - self.start_us[rows], 1)
        share = (timestamp_us - self.start_us[rows]) / span
        return Boxes(
            instance=self.instance[rows],
            class_id=self.class_id[rows],
            center_world=self.center[rows] + share[:, None] * self.center_step[rows],
            size_lwh=self.size[rows] + share[:, None] * self.size_step[rows],
            yaw_world=self.yaw[rows] + share * self.yaw_step[rows],
            velocity_world=self.velocity[rows] + share[:, None] * self.velocity_step[rows],
        )


def load_tracks(tables: NuScenes, scene: str) -> SceneTracks:
    """The annotated tracks of a scene.

    Raises:
        InputError: unknown scene, or an annotation that names an unknown sample.
    """
    samples = _sample_times(tables, find_scene(tables, scene))
    by_instance: dict[str, list[dict]] = {}
    for token in samples:
        for annotation in tables.get("sample", token)["anns"]:
            record = tables.get("sample_annotation", annotation)
            by_instance.setdefault(record["instance_token"], []).append(record)
    pieces: list[dict[str, NDArray]] = []
    for index, records in enumerate(by_instance.values()):
        pieces.append(_segments(tables, index, records, samples))
    return SceneTracks(**_concatenate(pieces), tokens=tuple(by_instance))


def _sample_times(tables: NuScenes, scene: dict) -> dict[str, int]:
    """Sample token -> time (us), in order."""
    out: dict[str, int] = {}
    token = scene["first_sample_token"]
    while token:
        sample = tables.get("sample", token)
        out[token] = int(sample["timestamp"])
        token = sample["next"]
    if not out:
        path = Path(tables.table_root) / "sample.json"
        raise InputError(
            f"{scene['name']} has no samples", expected="at least one", fix="unpack the metadata again", path=path
        )
    return out


def _segments(tables: NuScenes, index: int, records: list[dict], samples: dict[str, int]) -> dict[str, NDArray]:
    """The segments of one instance; `records` are its annotations in time order."""
    time = np.array([samples[r["sample_token"]] for r in records], np.int64)
    poses = [se3_from_quaternion(np.array(r["translation"]), np.array(r["rotation"])) for r in records]
    center = np.stack([p[:3, 3] for p in poses])
    yaw = np.array([float(yaw_of(p)) for p in poses])
    size = np.array([r["size"] for r in records], np.float64)[:, [1, 0, 2]]  # nuScenes: width, length, height
    velocity = np.stack([tables.box_velocity(r["token"])[:2] for r in records])

    def step(values: NDArray) -> NDArray:
        return np.concatenate([np.diff(values, axis=0), np.zeros_like(values[:1])])

    return {
        "instance": np.full(len(records), index),
        "class_id": np.full(len(records), occupancy_class(records[0]["category_name"])),
        "start_us": time,
        "end_us": np.append(time[1:], time[-1]),
        "center": center,
        "center_step": step(center),
        "size": size,
        "size_step": step(size),
        "yaw": yaw,
        "yaw_step": wrap_angle(step(yaw)),
        "velocity": velocity,
        "velocity_step": step(velocity),
    }


def _concatenate(pieces: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    if not pieces:
        ints, vectors = np.zeros(0, np.int64), np.zeros((0, 3))
        return {
            "instance": ints, "class_id": ints, "start_us": ints, "end_us": ints,
            "center": vectors, "center_step": vectors, "size": vectors, "size_step": vectors,
            "yaw": np.zeros(0), "yaw_step": np.zeros(0),
            "velocity": np.zeros((0, 2)), "velocity_step": np.zeros((0, 2)),
        }  # fmt: skip
    return {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
