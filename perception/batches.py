"""Prepared keyframes as tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from perception.config import CAMERAS
from perception.frames import Frame
from perception.lift import LiftIndex
from perception.losses import Truth
from perception.model import Inputs
from perception.preprocess import normalise


class Batch(NamedTuple):
    inputs: Inputs
    truth: Truth

    def to(self, device: torch.device) -> Batch:
        inputs, truth = self
        index = None if inputs.lifting is None else inputs.lifting.to(device)
        images, present, lidar, depth = (
            None if tensor is None else tensor.to(device)
            for tensor in (inputs.images, inputs.present, inputs.lidar, truth.depth)
        )
        return Batch(
            Inputs(lidar, images, present, index), Truth(truth.semantics.to(device), truth.counts.to(device), depth)
        )


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
