"""Batches of prepared keyframes, with what is left out of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from calib.errors import InputError
from perception.config import CAMERAS, Config
from perception.frames import Frame, FrameStore
from perception.lift import LiftIndex
from perception.losses import Truth
from perception.model import Inputs
from perception.prepare import RigPlan
from perception.preprocess import normalise

GAIN, OFFSET = 0.15, 0.15  # of contrast and brightness, deviations of normalised images: a camera's exposure varies


class Batch(NamedTuple):
    inputs: Inputs
    truth: Truth

    def to(self, device: torch.device) -> Batch:
        inputs, truth = self
        index = None if inputs.index is None else LiftIndex(*(part.to(device) for part in inputs.index))
        images, present, lidar, depth = (
            None if tensor is None else tensor.to(device)
            for tensor in (inputs.images, inputs.present, inputs.lidar, truth.depth)
        )
        return Batch(
            Inputs(lidar, images, present, index), Truth(truth.semantics.to(device), truth.counts.to(device), depth)
        )


class FrameNames(NamedTuple):
    """Frames (scene, token) by rig; index: of each rig, as tensors."""

    groups: tuple[tuple[tuple[str, str], ...], ...]
    index: tuple[LiftIndex, ...]


def frame_names(store: FrameStore, scenes: Mapping[str, list[str]]) -> FrameNames:
    """
    Raises:
        InputError: no frame at all.
    """
    groups: dict[int, list[tuple[str, str]]] = {}
    plans: dict[int, RigPlan] = {}
    for scene, tokens in scenes.items():
        plan = store.plan(scene)
        plans[id(plan)] = plan
        groups.setdefault(id(plan), []).extend((scene, token) for token in tokens)
    if not any(groups.values()):
        raise InputError("no frames", expected="scenes with labelled keyframes", fix="choose other scenes")
    return FrameNames(
        tuple(tuple(group) for group in groups.values()), tuple(LiftIndex.of(plans[key].table) for key in groups)
    )


def sample_batch(store: FrameStore, names: FrameNames, config: Config, rng: np.random.Generator) -> Batch:
    """Drawn at random: frames of one rig, sensors, cameras, how many sweeps, exposure, and a mirror for lidar alone."""
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
    mirrored = lidar and not camera and rng.random() < 0.5
    batch = make_batch(frames, names.index[rig] if camera else None, voxels, schedule.mask)
    if batch.inputs.images is not None and batch.inputs.present is not None:
        kept = torch.from_numpy((rng.random(batch.inputs.present.shape) >= schedule.camera_dropout).astype(np.float32))
        images = _expose(batch.inputs.images, rng)
        batch = batch._replace(inputs=batch.inputs._replace(images=images, present=batch.inputs.present * kept))
    return mirror(batch) if mirrored else batch


def make_batch(
    frames: list[Frame],
    index: LiftIndex | None,
    voxels: NDArray[np.uint8] | None,
    mask: str,
    cameras: NDArray[np.bool_] | None = None,
) -> Batch:
    """
    Args:
        index: of the rig; None: without cameras.
        voxels: uint8 [B, F, Z, X, Y]; None: without lidar.
        mask: which voxels count, one of perception.config.MASKS.
        cameras: bool [N], those that are used; None: all.
    """
    images = present = depth = None
    if index is not None:
        images = torch.from_numpy(np.stack([normalise(f.images) for f in frames]))
        used = np.ones(len(CAMERAS), bool) if cameras is None else cameras
        present = torch.from_numpy(np.stack([f.present & used for f in frames]).astype(np.float32))
        depth = torch.from_numpy(np.stack([f.depth for f in frames]).astype(np.int64))
    lidar = None if voxels is None else torch.from_numpy(voxels)
    semantics = np.stack([f.semantics for f in frames]).transpose(0, 3, 1, 2).astype(np.int64)
    counts = np.ascontiguousarray(np.stack([f.counts(mask) for f in frames]).transpose(0, 3, 1, 2))
    truth = Truth(torch.from_numpy(semantics), torch.from_numpy(counts), depth)
    return Batch(Inputs(lidar, images, present, index), truth)


def mirror(batch: Batch) -> Batch:
    """Left and right exchanged, of a batch without cameras (theirs would be another rig)."""
    assert batch.inputs.images is None and batch.inputs.lidar is not None
    truth = batch.truth
    return Batch(
        batch.inputs._replace(lidar=batch.inputs.lidar.flip(-1)),
        truth._replace(semantics=truth.semantics.flip(-1), counts=truth.counts.flip(-1)),
    )


def _expose(images: Float[Tensor, "B N 3 H W"], rng: np.random.Generator) -> Float[Tensor, "B N 3 H W"]:
    shape = (*images.shape[:2], 1, 1, 1)
    gain = torch.from_numpy(np.exp(rng.normal(0, GAIN, shape)).astype(np.float32))
    offset = torch.from_numpy(rng.normal(0, OFFSET, shape).astype(np.float32))
    return images * gain + offset
