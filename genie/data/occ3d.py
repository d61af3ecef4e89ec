"""Occ3D labels: gts/<scene>/<sample token>/labels.npz with semantics, mask_lidar and mask_camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calib.errors import InputError
from genie.data.npz import read_npz
from genie.data.nuscenes import Keyframe, keyframes, open_nuscenes
from genie.data.sequence import Sequence
from perception.types import GRID, Occupancy, check_semantics

if TYPE_CHECKING:
    from nuscenes import NuScenes

FOLDERS = ("gts", "occ3d")


@dataclass(frozen=True)
class LabelInventory:
    """Keyframe tokens of a scene with and without labels.npz."""

    found: list[str]
    missing: list[str]


def label_path(dataroot: Path | str, scene: str, token: str) -> Path | None:
    """Where the label of a keyframe is, or None."""
    for folder in FOLDERS:
        path = Path(dataroot) / folder / scene / token / "labels.npz"
        if path.is_file():
            return path
    return None


def read_labels(path: Path | str) -> Occupancy:
    """One labels.npz, validated.

    Raises:
        InputError: truncated, of another shape or dtype, or with class ids above 17.
    """
    path = Path(path)
    arrays = read_npz(path, ("semantics",), ("mask_lidar", "mask_camera"))
    check_semantics(arrays["semantics"], GRID.shape, path)
    masks = {name: arrays[name].astype(bool) if name in arrays else None for name in ("mask_lidar", "mask_camera")}
    return Occupancy(arrays["semantics"], source=path, **masks).validate()


def list_labelled_scenes(dataroot: Path | str) -> list[str]:
    """Scenes that have a folder of labels, sorted."""
    return sorted({p.name for folder in FOLDERS for p in (Path(dataroot) / folder).glob("scene-*") if p.is_dir()})


def inventory(nusc: NuScenes, scene: str) -> LabelInventory:
    tokens = [frame.token for frame in keyframes(nusc, scene)]
    found = [token for token in tokens if label_path(nusc.dataroot, scene, token)]
    return LabelInventory(found, sorted(set(tokens) - set(found)))


def load_keyframes(dataroot: Path | str, scene: str, nusc: NuScenes | None = None) -> Sequence:
    """All labelled keyframes of a scene, 2 Hz.

    Args:
        nusc: the opened tables, to save opening them again.

    Raises:
        InputError: unknown scene, no labels, or a label missing in the middle of the scene.
    """
    nusc = nusc or open_nuscenes(dataroot)
    frames = keyframes(nusc, scene)
    paths = [label_path(dataroot, scene, frame.token) for frame in frames]
    missing = [frame.token for frame, path in zip(frames, paths, strict=True) if path is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(frames)} keyframes have no labels.npz, the first is {missing[0]}",
            expected=f"{FOLDERS[0]}/{scene}/<sample token>/labels.npz for each keyframe",
            fix="download the Occ3D labels of this scene, or use --source stream",
            path=Path(dataroot) / FOLDERS[0] / scene,
        )
    return _sequence(scene, frames, [p for p in paths if p is not None])


def _sequence(scene: str, frames: list[Keyframe], paths: list[Path]) -> Sequence:
    semantics = np.empty((len(paths), *GRID.shape), np.uint8)
    for index, path in enumerate(paths):
        semantics[index] = read_labels(path).semantics
    return Sequence(
        name=scene,
        semantics=semantics,
        timestamp_us=np.array([frame.stamp_us for frame in frames], np.int64),
        world_from_ego=np.stack([frame.world_from_ego for frame in frames]),
        source=paths[0].parent.parent,
    )
