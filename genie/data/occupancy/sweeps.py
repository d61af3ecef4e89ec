"""The lidar sweeps of a scene: which there are, where they were taken, and their points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import Array, apply, se3_from_quaternion
from genie.data.nuscenes import scene_record

if TYPE_CHECKING:
    from nuscenes import NuScenes

LIDAR = "LIDAR_TOP"
# The ego vehicle in its own frame (m): what the lidar sees of it, and its empty returns, lie in here.
_EGO_LOW, _EGO_HIGH = np.array([-1.2, -1.1]), np.array([3.4, 1.1])


class Sweep(NamedTuple):
    """One revolution. world_from_ego, ego_from_sensor: [4, 4]. keyframe: its sample's token, "" between keyframes."""

    token: str
    stamp_us: int
    path: Path
    world_from_ego: Array
    ego_from_sensor: Array
    keyframe: str

    @property
    def origin(self) -> Array:
        """The sensor in the world, [3] (m)."""
        return apply(self.world_from_ego, self.ego_from_sensor[:3, 3])


class Sweeps(NamedTuple):
    """found: in time order, from the first keyframe to the last. missing: how many more the tables name."""

    found: list[Sweep]
    missing: int


def list_sweeps(nusc: NuScenes, scene: str) -> Sweeps:
    """The sweeps whose files are there.

    Raises:
        InputError: unknown scene, or a scene without a lidar in its tables.
    """
    record = scene_record(nusc, scene)
    first, last = (nusc.get("sample", record[f"{end}_sample_token"]) for end in ("first", "last"))
    if LIDAR not in first["data"] or LIDAR not in last["data"]:
        raise InputError(
            f"{scene} has no {LIDAR} in its keyframes",
            expected=f"sample_data of {LIDAR} for each sample",
            fix="use tables of a data set with a lidar",
            path=Path(nusc.dataroot) / nusc.version / "sample_data.json",
        )
    found, missing = [], 0
    token, end = first["data"][LIDAR], nusc.get("sample_data", last["data"][LIDAR])["timestamp"]
    while token:
        row = nusc.get("sample_data", token)
        if row["timestamp"] > end:
            break
        sweep = _sweep(nusc, row)
        if sweep.path.is_file():
            found.append(sweep)
        else:
            missing += 1
        token = row["next"]
    return Sweeps(found, missing)


class Placement(NamedTuple):
    """world_from_ego at the stamp of a sample_data, and ego_from_sensor: [4, 4] each."""

    world_from_ego: Array
    ego_from_sensor: Array


def pose_of(nusc: NuScenes, sample_data: dict[str, Any]) -> Placement:
    ego = nusc.get("ego_pose", sample_data["ego_pose_token"])
    mount = nusc.get("calibrated_sensor", sample_data["calibrated_sensor_token"])
    return Placement(*(se3_from_quaternion(np.array(r["translation"]), np.array(r["rotation"])) for r in (ego, mount)))


def _sweep(nusc: NuScenes, row: dict[str, Any]) -> Sweep:
    path = Path(nusc.dataroot) / row["filename"]
    keyframe = row["sample_token"] if row["is_key_frame"] else ""
    return Sweep(row["token"], int(row["timestamp"]), path, *pose_of(nusc, row), keyframe)


class Points(NamedTuple):
    """world: float64 [n, 3] (m), the ego's own body left out. rows: int64 [n], their rows in the file."""

    world: Array
    rows: NDArray[np.int64]


def read_points(sweep: Sweep, reach: float) -> Points:
    """The returns of a sweep up to `reach` m.

    Raises:
        InputError: the file is not float32 [n, 5].
    """
    values = np.fromfile(sweep.path, np.float32)
    if not len(values) or len(values) % 5 or sweep.path.stat().st_size % 20:
        raise InputError(
            f"{sweep.path.stat().st_size} bytes",
            expected="float32 x, y, z, intensity, ring for each point: a multiple of 20 bytes, and not empty",
            fix="copy or make the file again",
            path=sweep.path,
        )
    sensor = values.reshape(-1, 5)[:, :3].astype(np.float64)
    ego = apply(sweep.ego_from_sensor, sensor)
    own = ((ego[:, :2] > _EGO_LOW) & (ego[:, :2] < _EGO_HIGH)).all(1)
    near = (sensor**2).sum(1) <= reach**2  # false for NaN too
    rows = np.flatnonzero(~own & near)
    return Points(apply(sweep.world_from_ego, ego[rows]), rows)
