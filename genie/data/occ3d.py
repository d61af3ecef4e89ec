"""Occ3D-nuScenes labels: `gts/<scene>/<sample token>/labels.npz`, one per 2 Hz keyframe.

    semantics                uint8 [200, 200, 16] (x, y, z), in the ego frame at the LIDAR_TOP pose of the sample
    mask_lidar, mask_camera  0 or 1, same shape; optional

Source: Occ3D (arXiv 2304.14365), layout of its nuScenes release. A folder `occ3d/` beside `gts/` is read as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calib.errors import InputError
from genie.data.npz import read_npz
from genie.data.nuscenes import load_keyframe_poses, open_nuscenes
from genie.data.sequence import Sequence
from genie.data.stream import Style, apply_style
from perception.types import GRID, Occupancy, check_semantics

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

LABEL_FOLDERS = ("gts", "occ3d")


def label_path(dataroot: Path | str, scene: str, token: str) -> Path | None:
    """The label file of a sample, or None. gts/ comes before occ3d/."""
    paths = [Path(dataroot) / folder / scene / token / "labels.npz" for folder in LABEL_FOLDERS]
    return next((path for path in paths if path.is_file()), None)


def list_labelled_scenes(dataroot: Path | str) -> list[str]:
    """Names of the scenes that have at least one label, sorted."""
    found = {
        path.parents[1].name for folder in LABEL_FOLDERS for path in Path(dataroot).glob(f"{folder}/*/*/labels.npz")
    }
    return sorted(found)


def load_labels(path: Path | str) -> Occupancy:
    """Reads one labels.npz, with its visibility masks where it has them.

    Raises:
        InputError: absent, truncated, or not in the layout above; names the file.
    """
    path = Path(path)
    arrays = read_npz(path, ("semantics",), optional=("mask_lidar", "mask_camera"))
    check_semantics(arrays["semantics"], GRID.shape, path)
    masks = {}
    for name in ("mask_lidar", "mask_camera"):
        if name not in arrays:
            continue
        if not (np.issubdtype(arrays[name].dtype, np.integer) or arrays[name].dtype == np.bool_):
            raise InputError(
                f"{name} is {arrays[name].dtype}",
                expected="0 and 1, as integers or booleans",
                fix="write the masks as in the Occ3D release",
                path=path,
            )
        masks[name] = arrays[name].astype(bool)
    return Occupancy(arrays["semantics"], **masks, source=path).validate()


def load_keyframes(
    dataroot: Path | str, scene: str, tables: NuScenes | None = None, style: Style = "as-is"
) -> Sequence:
    """All keyframes of one scene at 2 Hz.

    Args:
        dataroot: folder that holds v1.0-* and gts/.
        scene: e.g. "scene-0061".
        tables: from `open_nuscenes`, to save opening them again for each scene.
        style: see genie.data.stream.apply_style.

    Raises:
        InputError: unknown scene, a keyframe without a label, or a damaged label.
    """
    dataroot = Path(dataroot)
    keyframes = load_keyframe_poses(tables if tables is not None else open_nuscenes(dataroot), scene)
    paths = [label_path(dataroot, scene, token) for token in keyframes.tokens]
    for token, path in zip(keyframes.tokens, paths, strict=True):
        if path is None:
            raise InputError(
                f"no label for {sum(p is None for p in paths)} of the {len(paths)} keyframes of {scene}",
                expected="one labels.npz per keyframe, because windows count keyframes",
                fix="unpack the Occ3D labels (gts/) into the data root",
                path=dataroot / LABEL_FOLDERS[0] / scene / token / "labels.npz",
            )
    semantics = np.stack([load_labels(path).semantics for path in paths if path is not None])
    return Sequence(
        name=scene,
        semantics=apply_style(semantics, style),
        timestamp_us=keyframes.timestamp_us,
        world_from_ego=keyframes.world_from_ego,
        source=dataroot / LABEL_FOLDERS[0] / scene,
    )
