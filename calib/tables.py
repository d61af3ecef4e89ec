"""nuScenes' tables as far as calibration needs them, read as JSON: which sensors there are, where they sit, and what
they measured when, from which pose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from calib.rig_import import rig_from_nuscenes
from calib.transforms import Array, se3_from_quaternion

TABLES = ("sensor", "calibrated_sensor", "ego_pose", "scene", "sample", "sample_data")
Record = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Measurement:
    """One file of one sensor. world_from_ego: [4, 4] at its stamp (us)."""

    channel: str
    path: Path
    stamp_us: int
    world_from_ego: Array


@dataclass(frozen=True, eq=False)
class Keyframe:
    """What the lidar and the cameras measured together; of the cameras those whose files are there."""

    token: str
    lidar: Measurement
    cameras: tuple[Measurement, ...]


@dataclass(frozen=True, eq=False)
class SceneData:
    """One scene: its rig and its keyframes in time order; those without a sweep and an image are left out.

    missing: how many keyframes that are in the tables were left out.
    """

    name: str
    rig: Rig
    keyframes: tuple[Keyframe, ...]
    missing: int


def find_version(dataroot: Path | str, version: str | None = None) -> str:
    """The v1.0-* folder of a data root; the only one, or the one asked for."""
    dataroot = Path(dataroot)
    if not dataroot.is_dir():
        raise InputError(
            "no such folder",
            expected="a nuScenes data root: a folder with v1.0-*/ in it",
            fix="check the path given as --dataroot",
            path=dataroot,
        )
    found = sorted(p.name for p in dataroot.glob("v1.0-*") if p.is_dir())
    if version is None and len(found) == 1:
        return found[0]
    if version in found:
        return str(version)
    raise InputError(
        f"found {', '.join(found) if found else 'no v1.0-* folder'}",
        expected=f"the folder {version}" if version else "exactly one folder v1.0-* with the tables",
        fix="point --dataroot at the folder that holds v1.0-mini, v1.0-trainval or v1.0-synth",
        path=dataroot,
    )


class Tables:
    """The tables of one data root, loaded once.

    Raises:
        InputError: no data root, or a table that is missing or not whole.
    """

    def __init__(self, dataroot: Path | str, lidar: str = "LIDAR_TOP") -> None:
        self.dataroot, self.lidar = Path(dataroot), lidar
        self._folder = self.dataroot / find_version(dataroot)
        tables = {name: _load(self._folder / f"{name}.json") for name in TABLES}
        self._sensors, self._samples = tables["sensor"], tables["sample"]
        self._scenes = {str(s["name"]): s for s in tables["scene"]}
        self._calibrated = {c["token"]: c for c in tables["calibrated_sensor"]}
        self._poses = {p["token"]: p for p in tables["ego_pose"]}
        self._channels = {s["token"]: s for s in self._sensors}
        self._data: dict[str, list[Record]] = {}
        for row in tables["sample_data"]:
            if row["is_key_frame"]:
                self._data.setdefault(row["sample_token"], []).append(row)

    @property
    def scene_names(self) -> list[str]:
        return sorted(self._scenes)

    def scene(self, name: str) -> SceneData:
        """
        Raises:
            InputError: no scene of that name, or none of its files is there.
        """
        if name not in self._scenes:
            raise InputError(
                f"no scene named {name!r}",
                expected=f"one of {', '.join(self.scene_names)}",
                fix="name a scene of this data root",
                path=self._folder / "scene.json",
            )
        token = self._scenes[name]["token"]
        samples = sorted((s for s in self._samples if s["scene_token"] == token), key=lambda s: s["timestamp"])
        frames = [self._keyframe(str(s["token"])) for s in samples]
        there = tuple(frame for frame in frames if frame is not None)
        if not there:
            raise InputError(
                f"of {len(samples)} keyframes of {name}, none has its sweep and an image",
                expected="files under samples/, as sample_data.json names them",
                fix="download the sensors' files, or write them (geniedrive data synth --lidar --cameras)",
                path=self.dataroot,
            )
        return SceneData(name, self._rig(name, samples), there, len(samples) - len(there))

    def first(self, name: str | None = None) -> SceneData:
        """The scene of that name; without one, the first whose files are there."""
        if name is not None:
            return self.scene(name)
        for candidate in self.scene_names:
            with suppress(InputError):
                return self.scene(candidate)
        return self.scene(self.scene_names[0])  # says what is missing

    def _channel(self, row: Record) -> str:
        return str(self._channels[self._calibrated[row["calibrated_sensor_token"]]["sensor_token"]]["channel"])

    def _rig(self, name: str, samples: list[Record]) -> Rig:
        rows = [row for sample in samples for row in self._data.get(str(sample["token"]), [])]
        calibrated = {row["calibrated_sensor_token"]: self._calibrated[row["calibrated_sensor_token"]] for row in rows}
        sizes = {self._channel(row): (int(row["width"]), int(row["height"])) for row in rows if row["width"]}
        return rig_from_nuscenes(name, calibrated.values(), self._sensors, sizes)

    def _keyframe(self, token: str) -> Keyframe | None:
        measured = [self._measurement(row) for row in self._data.get(token, [])]
        there = {m.channel: m for m in measured if m.path.is_file()}
        cameras = tuple(m for name, m in sorted(there.items()) if name.startswith("CAM"))
        if self.lidar not in there or not cameras:
            return None
        return Keyframe(token, there[self.lidar], cameras)

    def _measurement(self, row: Record) -> Measurement:
        pose = self._poses[row["ego_pose_token"]]
        world_from_ego = se3_from_quaternion(np.array(pose["translation"]), np.array(pose["rotation"]))
        return Measurement(
            self._channel(row), self.dataroot / str(row["filename"]), int(row["timestamp"]), world_from_ego
        )


def read_sweep(path: Path) -> NDArray[np.float32]:
    """[n, 5] of nuScenes' .pcd.bin: x, y, z (m, sensor frame), intensity, ring."""
    values = np.fromfile(path, dtype="<f4")
    if len(values) == 0 or len(values) % 5:
        raise InputError(
            f"{len(values)} numbers", expected="float32 in rows of 5: x, y, z, intensity, ring",
            fix="the file is truncated or of another format; download or write it again", path=path,
        )  # fmt: skip
    return values.reshape(-1, 5)


def read_image(path: Path) -> NDArray[np.uint8]:
    """BGR [h, w, 3]."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError("not an image that can be read", expected="JPEG or PNG", fix="check the file", path=path)
    return np.asarray(image, dtype=np.uint8)


def _load(path: Path) -> list[Record]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "table missing", expected=f"the tables {', '.join(TABLES)}", fix="download the data again", path=path
        ) from error
    except ValueError as error:
        raise InputError(
            f"not a whole JSON table: {error}", expected="a JSON list of records",
            fix="the file is half-written or truncated; download or synthesise it again", path=path,
        ) from error  # fmt: skip
    if not isinstance(rows, list):
        raise InputError("no list", expected="a JSON list of records", fix="download the data again", path=path)
    return rows
