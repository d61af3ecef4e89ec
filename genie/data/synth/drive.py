"""A drive for calibration: the lidar and some of the cameras at the keyframes alone, and the tables that say where each
measured. No labels, no boxes: ten minutes of it are affordable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calib.files import write_json
from genie.data.synth.config import KEYFRAME_EVERY, STREAM_HZ, SynthConfig
from genie.data.synth.generate import scene_world
from genie.data.synth.names import VERSION, SceneNames
from genie.data.synth.samples import Row, Shot, channel_shots, data_rows, pose_rows, sample_rows
from genie.data.synth.sensor_files import write_shot
from genie.data.synth.sensors import LIDAR, RIG
from genie.data.synth.tables import common_tables

if TYPE_CHECKING:
    from genie.data.synth.render import Renderer

RATE = STREAM_HZ // KEYFRAME_EVERY  # Hz


def write_drive(
    root: Path, config: SynthConfig, cameras: tuple[str, ...], progress: Callable[[str], None] = lambda name: None
) -> None:
    """Writes the scenes of `config` as far as `cameras` and the lidar saw them. What is there is not written again."""
    from genie.data.synth.render import Renderer

    tables: dict[str, list[Row]] = {"scene": [], "sample": [], "sample_data": [], "ego_pose": []}
    for index in range(config.scenes):
        names = SceneNames(config.seed, index)
        world = scene_world(config, index)
        mounts = [m for m in RIG if m.channel in (LIDAR, *cameras)]
        shots = [shot for mount in mounts for shot in channel_shots(config, mount, RATE)]
        if any(not (root / shot.filename(names)).is_file() for shot in shots):
            _write_shots(root, Renderer(world), config, names, shots)
        tables["scene"].append(_scene_row(config, names))
        tables["sample"] += sample_rows(names, config.keyframes)
        tables["sample_data"] += data_rows(shots, config, names)
        tables["ego_pose"] += pose_rows(shots, world, names)
        # After each scene: what is finished can be read while the rest is written.
        for name, rows in {**common_tables(config), **tables}.items():
            write_json(root / VERSION / f"{name}.json", rows, indent=None)
        progress(names.name)


def _write_shots(root: Path, renderer: Renderer, config: SynthConfig, names: SceneNames, shots: list[Shot]) -> None:
    for number, shot in enumerate(shots):
        path = root / shot.filename(names)
        if not path.is_file():
            write_shot(path, renderer, shot, config, np.random.default_rng([config.seed, names.index, number]))


def _scene_row(config: SynthConfig, names: SceneNames) -> Row:
    return {
        "token": names.token("scene"), "log_token": names.token("log"), "nbr_samples": config.keyframes,
        "first_sample_token": names.sample_token(0), "last_sample_token": names.sample_token(config.keyframes - 1),
        "name": names.name, "description": "Lidar and cameras at the keyframes",
    }  # fmt: skip
