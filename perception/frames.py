"""Prepared keyframes on disk: network inputs with their truth, made once, read at each step.

STORE/inputs.yaml               what they were made for
STORE/SCENE/rig.yaml            the scene's rig
STORE/SCENE/TOKEN.npz           a `Frame`
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from calib.errors import InputError
from calib.files import atomic_path, write_text
from calib.rig import Rig
from calib.rig_file import load_rig, save_rig
from calib.transforms import Array
from perception.config import ModelConfig
from perception.prepare import RigPlan, plan_rig

VERSION = 1  # raised when equal sensors give other inputs than before
# Of the model's config, what the inputs depend on.
_KEYS = ("image_width", "image_height", "depth_bins", "nearest", "farthest", "sweeps")


class Frame(NamedTuple):
    """One keyframe.

    lidar: uint8 [F, Z, X, Y] of several sweeps; newest: of the last one alone. images: uint8 BGR [N, H, W, 3]; present:
    bool [N]; depth: uint8 [N, h, w] (perception.prepare). semantics: uint8 [X, Y, Z]; mask_lidar, mask_camera: bool.
    world_from_ego, ego_from_lidar: [4, 4].
    """

    lidar: NDArray[np.uint8]
    newest: NDArray[np.uint8]
    images: NDArray[np.uint8]
    present: NDArray[np.bool_]
    depth: NDArray[np.uint8]
    semantics: NDArray[np.uint8]
    mask_lidar: NDArray[np.bool_]
    mask_camera: NDArray[np.bool_]
    world_from_ego: Array
    ego_from_lidar: Array

    def counts(self, mask: str) -> NDArray[np.bool_]:
        """Voxels that count under a mask of perception.config.MASKS, bool [X, Y, Z]."""
        masks = {
            "camera": self.mask_camera,
            "lidar": self.mask_lidar,
            "either": self.mask_camera | self.mask_lidar,
            "none": np.ones_like(self.mask_camera),
        }
        return masks[mask]


class FrameStore:
    """A folder of frames. Two runs may fill it in turn: what is there is whole."""

    def __init__(self, folder: Path, config: ModelConfig, keep: int = 0) -> None:
        """
        Args:
            keep: frames that stay in memory once they were read, 10 MB each.

        Raises:
            InputError: the folder holds frames that were made for another network.
        """
        self.folder, self.config, self._keep = folder, config, keep
        self._kept: dict[Path, Frame] = {}
        made_for = {"version": VERSION, **{k: v for k, v in asdict(config).items() if k in _KEYS}}
        path = folder / "inputs.yaml"
        if not path.is_file():
            write_text(path, yaml.safe_dump(made_for, sort_keys=False))
        elif (found := yaml.safe_load(path.read_text(encoding="utf-8"))) != made_for:
            raise InputError(
                f"frames made for {found}",
                expected=f"{made_for}",
                fix="choose another folder for them, or remove this one",
                path=path,
            )

    def path(self, scene: str, token: str) -> Path:
        return self.folder / scene / f"{token}.npz"

    def tokens(self, scene: str) -> list[str]:
        """In the order of their names; () where there are none."""
        return sorted(p.stem for p in (self.folder / scene).glob("[!.]*.npz"))

    def write(self, scene: str, token: str, frame: Frame) -> None:
        with atomic_path(self.path(scene, token)) as temporary:
            np.savez_compressed(temporary, **frame._asdict())

    def write_rig(self, scene: str, rig: Rig) -> None:
        save_rig(self.folder / scene / "rig.yaml", rig)

    def rig(self, scene: str) -> Rig:
        return load_rig(self.folder / scene / "rig.yaml")

    def plan(self, scene: str) -> RigPlan:
        """Of the scene's rig; one plan for all scenes of equal rigs."""
        return _plan(_Hashed(self.rig(scene)), self.config)

    def read(self, scene: str, token: str) -> Frame:
        """
        Raises:
            InputError: absent or damaged.
        """
        path = self.path(scene, token)
        if path not in self._kept:
            frame = _read(path)
            if len(self._kept) >= self._keep:
                return frame
            self._kept[path] = frame
        return self._kept[path]


def _read(path: Path) -> Frame:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Frame(*(arrays[name] for name in Frame._fields))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"cannot be read ({error})", expected="a whole frame", fix="delete it and run again", path=path
        ) from error


class _Hashed:
    """A rig by its hash."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.sha256 = rig, rig.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.sha256 == other.sha256


@lru_cache(maxsize=8)
def _plan(hashed: _Hashed, config: ModelConfig) -> RigPlan:
    return plan_rig(hashed.rig, config)
