"""An exported perception against PyTorch: equal inputs, sensors lost in turn; a difference past a limit fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from deploy.parity import Check
from deploy.perception_export import Perceive, example_inputs
from deploy.perception_spec import IMAGES, LIDAR, PRESENT, read_perception_manifest
from deploy.runtime import open_session
from deploy.spec import WEIGHTS_FILE
from perception.checkpoint import load_network
from perception.config import ModelConfig


class Difference(NamedTuple):
    """case: which sensors delivered. voxels: share of another class. occupied_mean, _max: of the probability."""

    case: str
    voxels: float
    occupied_mean: float
    occupied_max: float


def compare_perception(export: Path, checkpoint: Path | None = None, *, threads: int = 2) -> list[Difference]:
    """ONNX Runtime against the network in PyTorch.

    Args:
        checkpoint: of the reference; None: the weights of the export.

    Raises:
        InputError: the export or the checkpoint cannot be read.
    """
    manifest = read_perception_manifest(export)
    reference = Perceive(load_network(checkpoint or Path(export) / WEIGHTS_FILE).model)
    session = open_session(Path(export) / manifest.graph.file, manifest.graph, threads)
    return [_compare(case, reference, session, inputs) for case, inputs in cases(manifest.config.model)]


def cases(config: ModelConfig) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """All sensors; the front camera lost; the lidar silent; where the network has them."""
    whole = example_inputs(config)
    yield "all", whole
    if config.camera:
        lost, black = whole[PRESENT].clone(), whole[IMAGES].clone()
        lost[0, 0], black[0, 0] = 0.0, 0.0
        yield "front camera lost", {**whole, PRESENT: lost, IMAGES: black}
    if config.camera and config.lidar:
        yield "lidar silent", {**whole, LIDAR: torch.zeros_like(whole[LIDAR])}


def checks(differences: list[Difference], export: Path) -> list[Check]:
    limits = read_perception_manifest(export).limits
    found = []
    for d in differences:
        found.append(Check(f"{d.case}: voxels of another class", d.voxels, limits.differing_voxels))
        found.append(Check(f"{d.case}: occupied, mean difference", d.occupied_mean, limits.occupied_mean))
    return found


@torch.inference_mode()
def _compare(
    case: str, reference: Perceive, session: onnxruntime.InferenceSession, inputs: dict[str, Tensor]
) -> Difference:
    semantics, occupied = (part.numpy() for part in reference(*inputs.values()))
    told, likely = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    apart = np.abs(likely - occupied)
    return Difference(case, float((told != semantics).mean()), float(apart.mean()), float(apart.max()))
