"""Occ3D labels at the keyframes and the 10 Hz streams in both styles, from the same frames."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np

from genie.data.stream import STREAM_FOLDERS
from genie.data.synth.config import KEYFRAME_EVERY, STREAM_HZ, SynthConfig
from genie.data.synth.masks import RigView
from genie.data.synth.names import SceneNames
from genie.data.synth.rasterise import LabelStyle, rasterise
from genie.data.synth.world import World
from perception.types import GRID

FRAME_US = 1_000_000 // STREAM_HZ
_FOLDER_OF_STYLE = {"occ3d": STREAM_FOLDERS["stream"], "mini": STREAM_FOLDERS["stream-mini"]}


def write_labels(root: Path, world: World, config: SynthConfig, names: SceneNames) -> None:
    """gts/<scene>/<sample>/labels.npz, and with config.stream both streams of the scene, under `root`."""
    view = RigView()
    for keyframe in range(config.keyframes):
        t = keyframe * KEYFRAME_EVERY / STREAM_HZ
        semantics = rasterise(world, t)
        masks = view.masks(semantics)
        path = root / "gts" / names.name / names.sample_token(keyframe) / "labels.npz"
        path.parent.mkdir(parents=True)
        np.savez_compressed(
            path,
            semantics=semantics,
            mask_lidar=masks.lidar.astype(np.uint8),
            mask_camera=masks.camera.astype(np.uint8),
        )
    if config.stream:
        for style in get_args(LabelStyle):
            _write_stream(root / _FOLDER_OF_STYLE[style] / f"{names.name}.npz", world, config, names, style)


def _write_stream(path: Path, world: World, config: SynthConfig, names: SceneNames, style: LabelStyle) -> None:
    semantics = np.empty((config.frames, *GRID.shape), np.uint8)
    for frame in range(config.frames):
        semantics[frame] = rasterise(world, frame / STREAM_HZ, style, levelled=True)
    poses = [world.ego(frame / STREAM_HZ) for frame in range(config.frames)]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        semantics=semantics,
        timestamp_us=np.array([names.stamp_us(frame * FRAME_US) for frame in range(config.frames)], np.int64),
        ego_xyz=np.array([p.xyz for p in poses]),
        ego_yaw=(np.array([p.yaw for p in poses]) + np.pi) % (2 * np.pi) - np.pi,
    )
