"""What a scene of nuScenes holds for a bag: sensors with their true stamps, and the ego pose at full rate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from calib.rig_import import rig_from_nuscenes
from calib.sync import interpolate_pose
from calib.transforms import inverse, se3_from_quaternion
from genie.data.nuscenes import scene_record

if TYPE_CHECKING:
    from nuscenes import NuScenes

DENSE_US = 100_000  # poses further apart than this need the CAN bus in between
STEP_US = 20_000  # of poses that are interpolated for want of anything better


@dataclass(frozen=True)
class Poses:
    """stamp_us: int64 [N], increasing; world_from_ego: float64 [N, 4, 4]. how: where they are from, in words."""

    stamp_us: NDArray[np.int64]
    world_from_ego: NDArray[np.float64]
    how: str

    def at(self, stamp_us: int) -> NDArray[np.float64]:
        """Interpolated; that of the end outside."""
        after = int(np.clip(np.searchsorted(self.stamp_us, stamp_us), 1, len(self.stamp_us) - 1))
        before_us, after_us = self.stamp_us[after - 1], self.stamp_us[after]
        fraction = float(stamp_us - before_us) / float(after_us - before_us)
        return interpolate_pose(self.world_from_ego[after - 1], self.world_from_ego[after], fraction)


@dataclass(frozen=True)
class Imu:
    """stamp_us: int64 [N]; in the ego frame: accel [N, 3] (m/s^2, with gravity), rate [N, 3] (rad/s); orientation
    [N, 4], w x y z, in the world."""

    stamp_us: NDArray[np.int64]
    accel: NDArray[np.float64]
    rate: NDArray[np.float64]
    orientation: NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """A file of a sensor. ego_from_sensor: [4, 4]. matrix: [3, 3] of a camera, else None."""

    channel: str
    modality: str
    stamp_us: int
    path: Path
    ego_from_sensor: NDArray[np.float64]
    matrix: NDArray[np.float64] | None
    size: tuple[int, int]


class BagSource:
    """One scene."""

    def __init__(self, nusc: NuScenes, scene: str) -> None:
        """InputError: no such scene."""
        self.nusc, self.scene, self.root = nusc, scene, Path(nusc.dataroot)
        record = scene_record(nusc, scene)
        tokens = set()
        token = record["first_sample_token"]
        while token:
            tokens.add(token)
            token = nusc.get("sample", token)["next"]
        self._records = sorted(
            (r for r in nusc.sample_data if r["sample_token"] in tokens), key=lambda r: (r["timestamp"], r["token"])
        )
        self.can = _can_bus(self.root / "can_bus" / f"{scene}_pose.json")

    def readings(self) -> Iterator[Reading]:
        """Cameras and lidars whose files are there, in time order."""
        for record in self._records:
            mount = self.nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
            sensor = self.nusc.get("sensor", mount["sensor_token"])
            path = self.root / record["filename"]
            if sensor["modality"] not in ("camera", "lidar") or not path.is_file():
                continue
            matrix = np.array(mount["camera_intrinsic"], float) if sensor["modality"] == "camera" else None
            yield Reading(
                sensor["channel"], sensor["modality"], int(record["timestamp"]), path,
                se3_from_quaternion(np.array(mount["translation"]), np.array(mount["rotation"])), matrix,
                (int(record["width"]), int(record["height"])),
            )  # fmt: skip

    def mounts(self) -> dict[str, tuple[str, NDArray[np.float64]]]:
        """Modality and ego_from_sensor of each camera and lidar of the scene, whether or not its files are there."""
        found: dict[str, tuple[str, NDArray[np.float64]]] = {}
        for record in self._records:
            mount = self.nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
            sensor = self.nusc.get("sensor", mount["sensor_token"])
            if sensor["modality"] in ("camera", "lidar"):
                pose = se3_from_quaternion(np.array(mount["translation"]), np.array(mount["rotation"]))
                found.setdefault(sensor["channel"], (sensor["modality"], pose))
        return dict(sorted(found.items()))

    def rig(self, lidar_from_nuscenes: NDArray[np.float64] | None = None) -> Rig:
        """The scene's sensors as rig.

        Args:
            lidar_from_nuscenes: [4, 4], from nuScenes' lidar frame to the one of the points, if that is
                another one.
        """
        found: dict[str, Any] = {}
        sizes: dict[str, tuple[int, int]] = {}
        for record in self._records:
            mount = self.nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
            channel = self.nusc.get("sensor", mount["sensor_token"])["channel"]
            found.setdefault(channel, mount)
            if record["width"] and record["height"]:
                sizes.setdefault(channel, (int(record["width"]), int(record["height"])))
        rig = rig_from_nuscenes(self.scene, [found[channel] for channel in sorted(found)], self.nusc.sensor, sizes)
        if lidar_from_nuscenes is None:
            return rig
        for lidar in rig.lidars:
            rig = rig.with_mount(lidar.name, lidar.mount.ego_from_sensor @ inverse(lidar_from_nuscenes))
        return rig

    def poses(self) -> Poses:
        """Those of the tables where they are dense; between sparse ones the CAN bus tells how the ego moved."""
        by_stamp = {}
        for record in self._records:
            pose = self.nusc.get("ego_pose", record["ego_pose_token"])
            by_stamp[int(record["timestamp"])] = se3_from_quaternion(
                np.array(pose["translation"]), np.array(pose["rotation"])
            )
        stamps = np.array(sorted(by_stamp), np.int64)
        table = Poses(stamps, np.stack([by_stamp[int(s)] for s in stamps]), "ego_pose table")
        if len(stamps) < 2:
            raise InputError(
                f"{len(stamps)} ego poses in {self.scene}", expected="two or more", fix="choose another scene",
                path=self.root,
            )  # fmt: skip
        if np.diff(stamps).max() <= DENSE_US:
            return table
        if self.can is None:
            return _interpolated(table)
        return _along(table, self.can)

    def imu(self) -> Imu | None:
        """None without a CAN bus."""
        if self.can is None:
            return None
        return Imu(
            np.array([m["utime"] for m in self.can], np.int64),
            np.array([m["accel"] for m in self.can], float),
            np.array([m["rotation_rate"] for m in self.can], float),
            np.array([m["orientation"] for m in self.can], float),
        )


def _interpolated(table: Poses) -> Poses:
    stamps = np.unique([*table.stamp_us, *range(int(table.stamp_us[0]), int(table.stamp_us[-1]), STEP_US)])
    return Poses(stamps, np.stack([table.at(int(s)) for s in stamps]), "ego_pose table, interpolated: no CAN bus")


def _along(table: Poses, can: list[dict[str, Any]]) -> Poses:
    """Through the poses of the table, and in between as the CAN bus says: what of it is off is spread evenly."""
    messages = {int(m["utime"]): m for m in can}
    stamps = np.array(sorted(messages), np.int64)
    raw = np.stack(
        [
            se3_from_quaternion(np.array(messages[int(s)]["pos"], float), np.array(messages[int(s)]["orientation"]))
            for s in stamps
        ]
    )
    bus = Poses(stamps, raw, "")
    inside = (table.stamp_us >= stamps[0]) & (table.stamp_us <= stamps[-1])
    known = table.stamp_us[inside]
    offsets = Poses(
        known,
        np.stack([table.at(int(s)) @ inverse(bus.at(int(s))) for s in known]),
        "world_from_bus",
    )
    between = stamps[(stamps >= table.stamp_us[0]) & (stamps <= table.stamp_us[-1])]
    all_stamps = np.unique([*table.stamp_us, *between])
    exact = set(table.stamp_us.tolist())
    poses = [table.at(int(s)) if int(s) in exact else offsets.at(int(s)) @ bus.at(int(s)) for s in all_stamps]
    return Poses(all_stamps, np.stack(poses), "ego_pose table, and the CAN bus between its poses")


def _can_bus(path: Path) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    try:
        messages: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("utime", "pos", "orientation", "accel", "rotation_rate", "vel"):
            messages[0][name]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"not poses of the CAN bus ({type(error).__name__}: {error})",
            expected="a list of utime, pos, orientation, accel, rotation_rate, vel",
            fix="unpack the CAN bus expansion again, or remove the file",
            path=path,
        ) from error
    return messages
