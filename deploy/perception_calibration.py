"""The frames that INT8 calibration of a perception sees: keyframes of a data root, chosen as for the world model
(calib/int8.py), with all sensors and with each kind silent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calib.errors import InputError
from calib.int8 import FrameFacts, choose_frames, write_frames
from deploy.bundle_files import sha256_of
from genie.data.nuscenes import open_nuscenes, scene_names
from genie.data.perception_frames import Keyframe, keyframes, read_keyframe, rig_of
from perception.config import ModelConfig
from perception.lift import LiftIndex
from perception.model import Inputs
from perception.prepare import camera_input, lidar_input, plan_rig
from perception.preprocess import normalise

SILENT_EVERY = 4  # of the chosen frames: once more without lidar, once more without cameras


@dataclass(frozen=True)
class PerceptionCalibration:
    """frames: the chosen keyframes of `dataroot`, in order; frame: index among the keyframes of the scene."""

    dataroot: Path
    frames: tuple[FrameFacts, ...]
    keyframes: tuple[Keyframe, ...]
    tables: Any  # nuscenes.NuScenes

    def write(self, path: Path) -> str:
        """Writes which frames, of which files. Returns the sha256 of what was written."""
        digests = {f.scene: hashlib.sha256() for f in self.frames}
        for fact, keyframe in zip(self.frames, self.keyframes, strict=True):
            for file in (keyframe.sweep, *keyframe.images.values()):
                digests[fact.scene].update(sha256_of(file).encode())
        write_frames(path, self.frames, {scene: digest.hexdigest() for scene, digest in digests.items()})
        return sha256_of(path)

    def inputs(self, config: ModelConfig) -> Iterator[Inputs]:
        """What the network is given at each of them."""
        for number, keyframe in enumerate(self.keyframes):
            sensors = read_keyframe(self.tables, keyframe.sample, config.sweeps)
            lidar = torch.from_numpy(lidar_input(sensors.sweeps))[None] if config.lidar else None
            whole = Inputs(lidar, None, None, None)
            if config.camera:
                plan = plan_rig(rig_of(self.tables, keyframe.sample), config)
                seen = camera_input(plan, sensors.images)
                images, present = torch.from_numpy(normalise(seen.images)), torch.from_numpy(seen.present).float()
                whole = Inputs(lidar, images[None], present[None], LiftIndex.of(plan.table))
            yield whole
            if config.lidar and config.camera and number % SILENT_EVERY == 0:
                yield whole._replace(lidar=None)
                yield whole._replace(images=None, present=None, lifting=None)


def choose_keyframes(dataroot: Path | None, count: int) -> PerceptionCalibration:
    """Of all scenes.

    Raises:
        InputError: no data root, none with sensor files, or fewer keyframes than `count`.
    """
    if dataroot is None:
        raise InputError(
            "int8 without calibration data",
            expected="a data root whose sensor files show the ranges of all activations",
            fix="give --calibration DATAROOT, e.g. one that `geniedrive data synth --lidar --cameras` wrote",
        )
    tables = open_nuscenes(dataroot)
    known = {
        (name, index): found for name in scene_names(tables) for index, found in enumerate(keyframes(tables, name))
    }
    facts = [FrameFacts(name, index, found.stamp_us, found.speed_m_s) for (name, index), found in known.items()]
    chosen = choose_frames(facts, count)
    return PerceptionCalibration(Path(dataroot), tuple(chosen), tuple(known[f.scene, f.frame] for f in chosen), tables)
