"""The tables of nuScenes through nuscenes-devkit, with errors that say what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.tables import find_version
from calib.transforms import se3_from_quaternion

if TYPE_CHECKING:
    from nuscenes import NuScenes

TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
    "sample", "sample_data", "sample_annotation", "map",
)  # fmt: skip


@dataclass(frozen=True)
class Keyframe:
    """A sample: its token, stamp (us) and world_from_ego [4, 4] at the LIDAR_TOP sweep."""

    token: str
    stamp_us: int
    world_from_ego: NDArray[np.float64]


def open_nuscenes(dataroot: Path | str, version: str | None = None) -> NuScenes:
    """Loads the 13 tables.

    Raises:
        InputError: wrong data root, a missing table or map mask, a table that is not whole JSON, or tables that do
            not fit together.
    """
    dataroot = Path(dataroot)
    version = find_version(dataroot, version)
    folder = dataroot / version
    for table in TABLES:
        _check_table(folder / f"{table}.json")
    from nuscenes import NuScenes

    try:
        return NuScenes(version=version, dataroot=str(dataroot), verbose=False)
    except json.JSONDecodeError as error:
        raise _damaged_table(folder) from error
    except (AssertionError, KeyError, IndexError, TypeError) as error:  # how the devkit says it
        raise InputError(
            f"the tables do not fit together ({type(error).__name__}: {error})",
            expected="the 13 tables of one release, and under the data root the map masks that map.json names",
            fix="download or synthesise the tables and maps again, all of them together",
            path=folder,
        ) from error


def _damaged_table(folder: Path) -> InputError:
    """Which table it is that the devkit could not parse."""
    for table in TABLES:
        path = folder / f"{table}.json"
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return _not_whole(path, str(error))
    return _not_whole(folder, "it changed while it was read")


def _check_table(path: Path) -> None:
    """Whole tables end with a bracket; a full parse is left to the devkit."""
    if not path.is_file():
        raise InputError(
            "table missing",
            expected=f"the 13 tables of nuScenes: {', '.join(TABLES)}",
            fix="download or synthesise the data again",
            path=path,
        )
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        if file.read().rstrip().endswith(b"]"):
            return
    raise _not_whole(path, "it ends in the middle")


def _not_whole(path: Path, why: str) -> InputError:
    return InputError(
        f"not a whole JSON table: {why}",
        expected="a JSON list of records",
        fix="the file is half-written or truncated; download or synthesise it again",
        path=path,
    )


def scene_names(nusc: NuScenes) -> list[str]:
    return sorted(scene["name"] for scene in nusc.scene)


def scene_record(nusc: NuScenes, name: str) -> dict[str, Any]:
    """The scene table's record.

    Raises:
        InputError: no scene of that name.
    """
    for scene in nusc.scene:
        if scene["name"] == name:
            return dict(scene)
    raise InputError(
        f"no scene named {name!r}",
        expected=f"one of {', '.join(scene_names(nusc))}",
        fix="name a scene of this data root",
        path=Path(nusc.dataroot) / nusc.version / "scene.json",
    )


def keyframes(nusc: NuScenes, scene: str) -> list[Keyframe]:
    """The samples of a scene in time order."""
    frames = []
    token = scene_record(nusc, scene)["first_sample_token"]
    while token:
        sample = nusc.get("sample", token)
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        pose = nusc.get("ego_pose", lidar["ego_pose_token"])
        world_from_ego = se3_from_quaternion(np.asarray(pose["translation"]), np.asarray(pose["rotation"]))
        frames.append(Keyframe(token, int(sample["timestamp"]), world_from_ego))
        token = sample["next"]
    return frames
