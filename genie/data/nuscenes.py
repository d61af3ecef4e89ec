"""nuScenes tables through nuscenes-devkit, and the keyframes of a scene with their ego poses.

The devkit says `AssertionError` or `KeyError` where a table is missing, half-written or of another release; here each
of these names the file and what to do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import se3_from_quaternion

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample", "sample_annotation",
    "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip


class Keyframes(NamedTuple):
    """The annotated 2 Hz samples of one scene, in time order.

    tokens:         [T] sample tokens.
    timestamp_us:   int64 [T], of the LIDAR_TOP sweep.
    world_from_ego: float64 [T, 4, 4], ego pose at that sweep: the frame of the Occ3D labels.
    """

    tokens: list[str]
    timestamp_us: NDArray[np.int64]
    world_from_ego: NDArray[np.float64]


def find_version(dataroot: Path, version: str | None = None) -> str:
    """Name of the v1.0-* folder of a data root that holds the tables.

    Raises:
        InputError: no such folder, or several and `version` does not say which.
    """
    if not dataroot.is_dir():
        raise InputError("no such folder", expected="a nuScenes data root", fix="check the path", path=dataroot)
    found = sorted(folder.name for folder in dataroot.glob("v1.0-*") if folder.is_dir())
    if version is not None and version in found:
        return version
    if version is None and len(found) == 1:
        return found[0]
    listing = ", ".join(found)
    if version is not None:
        raise InputError(
            f"no tables {version!r}",
            expected=f"one of: {listing}" if found else "a folder v1.0-* with the 13 tables",
            fix="name the version that is there",
            path=dataroot,
        )
    raise InputError(
        f"several versions: {listing}" if found else "no folder v1.0-*",
        expected="one folder v1.0-* (v1.0-mini, v1.0-trainval, v1.0-synth) with the 13 tables",
        fix="choose one with --version" if found else "give the folder that contains v1.0-*, maps and samples",
        path=dataroot,
    )


def open_nuscenes(dataroot: Path | str, version: str | None = None) -> NuScenes:
    """The devkit's NuScenes of a data root.

    Args:
        dataroot: the folder that contains v1.0-*.
        version: which of them, where there are several.

    Raises:
        InputError: wrong data root, missing or half-written table, or tables that do not fit together.
    """
    dataroot = Path(dataroot)
    version = find_version(dataroot, version)
    folder = dataroot / version
    for table in TABLES:
        if not (folder / f"{table}.json").is_file():
            raise InputError(
                "the table is missing",
                expected=f"all of: {', '.join(TABLES)}",
                fix="unpack the metadata archive of this version again",
                path=folder / f"{table}.json",
            )
    try:
        from nuscenes.nuscenes import NuScenes
    except ImportError as error:
        raise InputError(
            f"nuscenes-devkit cannot be imported ({error})",
            expected="the extra `train`: reading nuScenes tables needs it",
            fix="pip install 'geniedrive[train]'",
        ) from error
    try:
        return NuScenes(version, str(dataroot), verbose=False)
    except json.JSONDecodeError as error:
        raise _damaged_table(folder, error) from error
    except (AssertionError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"the tables do not fit together ({type(error).__name__}: {error})",
            expected="13 tables of one release, and the map masks that map.json names",
            fix="unpack the metadata and map archives of this version again",
            path=folder,
        ) from error


def _damaged_table(folder: Path, error: json.JSONDecodeError) -> InputError:
    """Finds out which table the devkit could not parse."""
    path = folder
    for table in TABLES:
        try:
            json.loads((folder / f"{table}.json").read_text())
        except json.JSONDecodeError:
            path = folder / f"{table}.json"
            break
    return InputError(
        f"not whole JSON ({error})",
        expected="a complete table",
        fix="the file is half-written: unpack the metadata archive again",
        path=path,
    )


def scene_names(tables: NuScenes) -> list[str]:
    """Names of all scenes, in the order of the table."""
    return [scene["name"] for scene in tables.scene]


def find_scene(tables: NuScenes, scene: str) -> dict:
    """The record of a scene by name.

    Raises:
        InputError: no such scene; the message lists those that there are.
    """
    for record in tables.scene:
        if record["name"] == scene:
            return record
    names = scene_names(tables)
    listed = ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")
    raise InputError(
        f"unknown scene {scene!r}",
        expected=f"one of: {listed}",
        fix="name a scene of this data root",
        path=Path(tables.table_root) / "scene.json",
    )


def load_keyframe_poses(tables: NuScenes, scene: str) -> Keyframes:
    """The samples of a scene with the ego pose of their LIDAR_TOP sweep.

    Raises:
        InputError: unknown scene, or a sample without LIDAR_TOP.
    """
    token = find_scene(tables, scene)["first_sample_token"]
    tokens, stamps, poses = [], [], []
    while token:
        sample = tables.get("sample", token)
        if "LIDAR_TOP" not in sample["data"]:
            raise InputError(
                f"sample {token} of {scene} has no LIDAR_TOP keyframe",
                expected="one LIDAR_TOP record per sample: its ego pose is the frame of the labels",
                fix="unpack the metadata archive of this version again",
                path=Path(tables.table_root) / "sample_data.json",
            )
        sweep = tables.get("sample_data", sample["data"]["LIDAR_TOP"])
        pose = tables.get("ego_pose", sweep["ego_pose_token"])
        tokens.append(token)
        stamps.append(sweep["timestamp"])
        poses.append(se3_from_quaternion(np.array(pose["translation"]), np.array(pose["rotation"])))
        token = sample["next"]
    return Keyframes(tokens, np.array(stamps, np.int64), np.stack(poses))
