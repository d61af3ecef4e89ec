"""The files of the sensors of one scene, and what they saw of each box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, apply
from genie.data.synth import lidarseg
from genie.data.synth.config import SynthConfig
from genie.data.synth.evidence import Evidence, RangeFinder, annotated, count_points, estimate, visible_by_rays
from genie.data.synth.names import SceneNames
from genie.data.synth.samples import KEYFRAME_US, Shot
from genie.data.synth.sensors import LIDAR, RIG, LidarSweep, Mount
from genie.data.synth.world import World

JPEG_QUALITY = 90
_MOUNTS = {m.channel: m for m in RIG}


class SceneRenderer(RangeFinder, Protocol):
    """What simulates the sensors of one world; `render.Renderer` is one."""

    def lidar(self, t: float, rng: np.random.Generator) -> LidarSweep:
        """The revolution that ends at `t` seconds after the start of the scene."""
        ...

    def camera(self, mount: Mount, t: float, scale: float, rng: np.random.Generator) -> NDArray[np.uint8]:
        """BGR [round(900 * scale), round(1600 * scale), 3]."""
        ...


RendererOf = Callable[[World], SceneRenderer]


def ray_traced(world: World) -> SceneRenderer:
    from genie.data.synth.render import Renderer

    return Renderer(world)


def write_sensors(
    root: Path, world: World, config: SynthConfig, names: SceneNames, shots: list[Shot], renderer_of: RendererOf
) -> list[Evidence]:
    """Writes the files of `shots` under `root`, as far as the config wants them; the evidence at each keyframe."""
    if not (config.lidar or config.cameras):
        return [estimate(world, _seconds(k)) for k in range(config.keyframes)]
    renderer = renderer_of(world)
    evidence = [_evidence(world, _seconds(k), renderer) for k in range(config.keyframes)]
    for number, shot in enumerate(shots):
        path = root / shot.filename(names)
        # A stream of random numbers per measurement: no file depends on which others are written.
        rng = np.random.default_rng([config.seed, names.index, 1 + list(_MOUNTS).index(shot.channel), number])
        if shot.channel == LIDAR and config.lidar:
            sweep = renderer.lidar(shot.seconds, rng)
            _write_sweep(path, sweep)
            if lidarseg.is_labelled(shot):
                lidarseg.write_labels(root, sweep, names.data_token(LIDAR, shot.time_us))
                points = _points_in_boxes(world, shot.seconds, sweep)
                evidence[shot.sample] = evidence[shot.sample]._replace(points=points)
        elif shot.channel != LIDAR:
            write_shot(path, renderer, shot, config, rng)
    return evidence


def write_shot(path: Path, renderer: SceneRenderer, shot: Shot, config: SynthConfig, rng: np.random.Generator) -> None:
    """The file of one measurement: a sweep or an image."""
    if shot.channel == LIDAR:
        _write_sweep(path, renderer.lidar(shot.seconds, rng))
    else:
        _write_image(path, renderer.camera(_MOUNTS[shot.channel], shot.seconds, config.image_scale, rng))


def _seconds(keyframe: int) -> float:
    return keyframe * KEYFRAME_US * 1e-6


def _evidence(world: World, t: float, renderer: SceneRenderer) -> Evidence:
    """Visibility from rays; the points are an estimate until the sweep is there."""
    ego = world.ego(t)
    visible = visible_by_rays(annotated(world.boxes(t), ego), ego, t, renderer)
    return estimate(world, t)._replace(visible=visible)


def _points_in_boxes(world: World, t: float, sweep: LidarSweep) -> NDArray[np.int64]:
    ego = world.ego(t)
    world_from_lidar: Array = ego.world_from_ego @ _MOUNTS[LIDAR].ego_from_sensor
    return count_points(annotated(world.boxes(t), ego), apply(world_from_lidar, sweep.points[:, :3].astype(np.float64)))


def _write_sweep(path: Path, sweep: LidarSweep) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep.points.astype("<f4").tofile(path)


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"cannot write {path}")
