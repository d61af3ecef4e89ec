"""Annotated boxes of a scene, at any time: keyframes as annotated, linear in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calib.transforms import wrap_angle
from genie.data.nuscenes import keyframes
from perception.types import CLASS_NAMES

if TYPE_CHECKING:
    from nuscenes import NuScenes

# nuScenes category prefix -> Occ3D class; the first that fits counts.
_CATEGORY_CLASS: tuple[tuple[str, str], ...] = (
    ("vehicle.bicycle", "bicycle"),
    ("vehicle.bus", "bus"),
    ("vehicle.car", "car"),
    ("vehicle.construction", "construction_vehicle"),
    ("vehicle.motorcycle", "motorcycle"),
    ("vehicle.trailer", "trailer"),
    ("vehicle.truck", "truck"),
    ("human.pedestrian", "pedestrian"),
    ("movable_object.barrier", "barrier"),
    ("movable_object.trafficcone", "traffic_cone"),
)


def class_of_category(category: str) -> int:
    """Occ3D class id of a nuScenes category name; what has no class of its own is `others` (0)."""
    for prefix, name in _CATEGORY_CLASS:
        if category.startswith(prefix):
            return CLASS_NAMES.index(name)
    return 0


@dataclass(frozen=True)
class Boxes:
    """Boxes at one instant, in the world.

    instance: int64 [B], constant over a scene; class_id: int64 [B], Occ3D.
    center_world: float64 [B, 3] (m); size_lwh: float64 [B, 3], length, width, height (m); yaw_world: float64 [B] (rad).
    velocity_world: float64 [B, 2] (m/s), of the nearest keyframe by the devkit's rule; NaN where it is unknown.
    """

    instance: NDArray[np.int64]
    class_id: NDArray[np.int64]
    center_world: NDArray[np.float64]
    size_lwh: NDArray[np.float64]
    yaw_world: NDArray[np.float64]
    velocity_world: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.instance)

    def select(self, rows: NDArray[Any]) -> Boxes:
        """The boxes of an index or a mask."""
        return Boxes(
            self.instance[rows], self.class_id[rows], self.center_world[rows], self.size_lwh[rows],
            self.yaw_world[rows], self.velocity_world[rows],
        )  # fmt: skip


@dataclass(frozen=True)
class SceneTracks:
    """Keyframe stamps (us, int64 [F]) and the boxes at each."""

    stamp_us: NDArray[np.int64]
    boxes: tuple[Boxes, ...]

    def at(self, timestamp_us: int) -> Boxes:
        """Boxes at a time: between keyframes those annotated at both, centre linear and yaw the short way round;
        none before the first and after the last keyframe."""
        after = int(np.searchsorted(self.stamp_us, timestamp_us))
        if after < len(self.stamp_us) and self.stamp_us[after] == timestamp_us:
            return self.boxes[after]
        if after in (0, len(self.stamp_us)):
            return self.boxes[0].select(np.zeros(0, np.int64))
        early, late = self.boxes[after - 1], self.boxes[after]
        gap = self.stamp_us[after] - self.stamp_us[after - 1]
        share = float(timestamp_us - self.stamp_us[after - 1]) / float(gap)
        _, rows_early, rows_late = np.intersect1d(early.instance, late.instance, return_indices=True)
        first, second = early.select(rows_early), late.select(rows_late)
        nearer = first if share < 0.5 else second
        return Boxes(
            first.instance,
            first.class_id,
            (1 - share) * first.center_world + share * second.center_world,
            first.size_lwh,
            first.yaw_world + share * wrap_angle(second.yaw_world - first.yaw_world),
            nearer.velocity_world,
        )


def load_tracks(nusc: NuScenes, scene: str) -> SceneTracks:
    """All annotations of a scene.

    Raises:
        InputError: no scene of that name.
    """
    frames = keyframes(nusc, scene)
    number: dict[str, int] = {}
    boxes = []
    for frame in frames:
        records = [nusc.get("sample_annotation", token) for token in nusc.get("sample", frame.token)["anns"]]
        for record in records:
            number.setdefault(record["instance_token"], len(number))
        boxes.append(_boxes(nusc, records, number))
    return SceneTracks(np.array([frame.stamp_us for frame in frames], np.int64), tuple(boxes))


def _boxes(nusc: NuScenes, records: list[dict[str, Any]], number: dict[str, int]) -> Boxes:
    quaternion = np.array([r["rotation"] for r in records], np.float64).reshape(-1, 4)
    w, x, y, z = quaternion.T
    return Boxes(
        instance=np.array([number[r["instance_token"]] for r in records], np.int64),
        class_id=np.array([class_of_category(r["category_name"]) for r in records], np.int64),
        center_world=np.array([r["translation"] for r in records], np.float64).reshape(-1, 3),
        # nuScenes stores width, length, height.
        size_lwh=np.array([r["size"] for r in records], np.float64).reshape(-1, 3)[:, [1, 0, 2]],
        yaw_world=np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
        velocity_world=np.array([nusc.box_velocity(r["token"])[:2] for r in records], np.float64).reshape(-1, 2),
    )
