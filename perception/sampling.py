"""What a step of the training sees: frames of one rig at random, and what is left out of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from calib.errors import InputError
from perception.batches import Batch, make_batch
from perception.config import Config
from perception.frames import FrameStore
from perception.lift import LiftIndex
from perception.mirror import mirror, mirror_rig
from perception.prepare import RigPlan, plan_rig

GAIN, OFFSET = 0.15, 0.15  # of contrast and brightness, deviations of normalised images: a camera's exposure varies


class FrameNames(NamedTuple):
    """Frames (scene, token) by rig; lifting: of each rig; mirrored: of each in a mirror."""

    groups: tuple[tuple[tuple[str, str], ...], ...]
    lifting: tuple[LiftIndex, ...]
    mirrored: tuple[LiftIndex, ...]


def frame_names(store: FrameStore, scenes: Mapping[str, list[str]]) -> FrameNames:
    """
    Raises:
        InputError: no frame at all.
    """
    groups: dict[int, list[tuple[str, str]]] = {}
    plans: dict[int, RigPlan] = {}
    mirrored: dict[int, RigPlan] = {}
    for scene, tokens in scenes.items():
        plan = store.plan(scene)
        if id(plan) not in plans:
            plans[id(plan)], mirrored[id(plan)] = plan, plan_rig(mirror_rig(store.rig(scene)), store.config)
        groups.setdefault(id(plan), []).extend((scene, token) for token in tokens)
    if not any(groups.values()):
        raise InputError("no frames", expected="scenes with labelled keyframes", fix="choose other scenes")
    return FrameNames(
        tuple(tuple(group) for group in groups.values()),
        *(tuple(LiftIndex.of(of[key].table) for key in groups) for of in (plans, mirrored)),
    )


def sample_batch(store: FrameStore, names: FrameNames, config: Config, rng: np.random.Generator) -> Batch:
    """Drawn at random: frames of one rig, sensors, cameras, how many sweeps, exposure, a mirror."""
    schedule, model = config.train, config.model
    sizes = np.array([len(group) for group in names.groups], float)
    rig = int(rng.choice(len(sizes), p=sizes / sizes.sum()))
    group = names.groups[rig]
    frames = [store.read(*group[int(rng.integers(len(group)))]) for _ in range(schedule.batch)]
    draw = rng.random()
    lidar = model.lidar and not (model.camera and draw < schedule.camera_alone)
    camera = model.camera and not (model.lidar and draw > 1 - schedule.lidar_alone)
    voxels = None
    if lidar:
        voxels = np.stack([f.newest if rng.random() < schedule.one_sweep else f.lidar for f in frames])
    mirrored = rng.random() < 0.5
    batch = make_batch(frames, names.lifting[rig] if camera else None, voxels, schedule.mask)
    if batch.inputs.images is not None and batch.inputs.present is not None:
        kept = torch.from_numpy((rng.random(batch.inputs.present.shape) >= schedule.camera_dropout).astype(np.float32))
        images = _expose(batch.inputs.images, rng)
        batch = batch._replace(inputs=batch.inputs._replace(images=images, present=batch.inputs.present * kept))
    if not mirrored:
        return batch
    return mirror(batch, names.mirrored[rig] if camera else None)


def _expose(images: Float[Tensor, "B N 3 H W"], rng: np.random.Generator) -> Float[Tensor, "B N 3 H W"]:
    shape = (*images.shape[:2], 1, 1, 1)
    gain = torch.from_numpy(np.exp(rng.normal(0, GAIN, shape)).astype(np.float32))
    offset = torch.from_numpy(rng.normal(0, OFFSET, shape).astype(np.float32))
    return images * gain + offset
