"""Scores of perception on labelled keyframes, under each set of sensors, beside baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from perception.batches import make_batch
from perception.config import CAMERAS, MASKS, ModelConfig
from perception.frames import Frame, FrameStore
from perception.lift import LiftIndex
from perception.metrics import ConfusionTable, confusion_table
from perception.model import OccupancyNet
from perception.prepare import RigPlan
from perception.ray_iou import RayTable, Sight, look, origins_of, ray_table
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID, NUM_CLASSES
from perception.voxelize import FEATURES

Labels = NDArray[np.uint8]
MANMADE = CLASS_NAMES.index("manmade")
GROUND_BELOW = 0.3  # m: what the rule of heights calls road


class Sensors(NamedTuple):
    """Which of them a row uses. sweeps: "all", "newest" or "none". lost: cameras left out; None: all of them."""

    name: str
    sweeps: str
    lost: tuple[str, ...] | None


LIDAR_ONLY = Sensors("lidar", "all", None)
ONE_SWEEP = Sensors("lidar, one sweep", "newest", None)
CAMERA_ONLY = Sensors("cameras", "none", ())
FUSED = Sensors("lidar + cameras", "all", ())


def lost_cameras() -> tuple[Sensors, ...]:
    """Rows with one camera lost each, and with all but the front one."""
    fused = [Sensors(f"lidar + cameras without {name}", "all", (name,)) for name in CAMERAS]
    alone = [Sensors(f"cameras without {name}", "none", (name,)) for name in CAMERAS]
    return (*fused, *alone, Sensors(f"{CAMERAS[0]} alone", "none", CAMERAS[1:]))


@dataclass
class Row:
    """One method. tables: confusion by mask of perception.config.MASKS. rays: None where they were not cast."""

    name: str
    tables: dict[str, ConfusionTable] = field(
        default_factory=lambda: {mask: np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64) for mask in MASKS}
    )
    rays: RayTable | None = None

    def add(self, frame: Frame, forecast: Labels, sight: Sight | None) -> None:
        for mask in MASKS:
            self.tables[mask] += confusion_table(frame.semantics, forecast, frame.counts(mask))
        if sight is not None:
            counted = ray_table(sight, forecast)
            self.rays = counted if self.rays is None else self.rays.plus(counted)


Perceive = Callable[[Frame, Sensors], Labels]  # classes [X, Y, Z] of a frame, by some of its sensors


class Perceiver:
    """A network on frames of one rig: a `Perceive`."""

    def __init__(self, model: OccupancyNet, plan: RigPlan) -> None:
        self._model, self._index = model, LiftIndex.of(plan.table)

    @torch.no_grad()
    def __call__(self, frame: Frame, sensors: Sensors) -> Labels:
        """Classes [X, Y, Z]."""
        voxels = {"all": frame.lidar, "newest": frame.newest, "none": None}[sensors.sweeps]
        used = np.array([name not in (sensors.lost or ()) for name in CAMERAS])
        index = self._index if sensors.lost is not None else None
        batch = make_batch([frame], index, None if voxels is None else voxels[None], "none", used)
        return self._model(batch.inputs).semantics()[0].numpy()


def usable(config: ModelConfig, rows: Iterable[Sensors]) -> list[Sensors]:
    """Those for which the network has a path."""
    return [row for row in rows if (row.sweeps == "none" or config.lidar) and (row.lost is None or config.camera)]


def raw_voxels(frame: Frame) -> Labels:
    """Baseline: a voxel with a return is occupied, by road up to 0.3 m and by something built above."""
    hit = frame.lidar[FEATURES.index("hits")].transpose(1, 2, 0) > 0
    height = GRID.origin[2] + (np.arange(GRID.shape[2]) + 0.5) * GRID.voxel_size
    kind = np.where(height < GROUND_BELOW, DRIVEABLE, MANMADE).astype(np.uint8)
    return np.where(hit, kind, np.uint8(FREE))


def mean_map(store: FrameStore, scenes: Mapping[str, list[str]]) -> Labels:
    """The commonest class of each voxel in the frames: what is known without a sensor."""
    counts = np.zeros((NUM_CLASSES, int(np.prod(GRID.shape))), np.int32)
    every = np.arange(counts.shape[1])
    for scene, tokens in scenes.items():
        for token in tokens:
            counts[store.read(scene, token).semantics.reshape(-1), every] += 1
    return counts.argmax(0).astype(np.uint8).reshape(GRID.shape)


def evaluate(
    perceiving: Callable[[RigPlan], Perceive],
    store: FrameStore,
    scenes: Mapping[str, list[str]],
    sensors: Sequence[Sensors],
    *,
    prior: Labels | None = None,
    rays_for: Sequence[str] = (),
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda names: names,
) -> list[Row]:
    """Rows: the baselines, then the network with each set of sensors.

    Args:
        perceiving: what perceives on a rig.
        prior: of `mean_map`, from other scenes; None: no such row.
        rays_for: names of rows whose RayIoU is counted: rays cost more than the rest. "*": of all.
    """
    rows = [Row(name) for name in (*_baselines(prior), *(s.name for s in sensors))]
    for scene in progress(scenes):
        plan, tokens = store.plan(scene), scenes[scene]
        perceive = perceiving(plan)
        frames = [store.read(scene, token) for token in tokens]
        for number, frame in enumerate(frames):
            sight = None
            if rays_for:
                poses = [f.world_from_ego for f in frames]
                sight = look(frame.semantics, origins_of(poses, number, frame.ego_from_lidar))
            forecasts = [baseline(frame) for baseline in _baselines(prior).values()]
            forecasts += [perceive(frame, row) for row in sensors]
            for row, forecast in zip(rows, forecasts, strict=True):
                row.add(frame, forecast, sight if row.name in rays_for or "*" in rays_for else None)
    return rows


def _baselines(prior: Labels | None) -> dict[str, Callable[[Frame], Labels]]:
    found: dict[str, Callable[[Frame], Labels]] = {}
    if prior is not None:
        found["mean map"] = lambda frame: prior
    found["raw voxels"] = raw_voxels
    return found
