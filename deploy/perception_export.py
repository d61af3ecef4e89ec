"""A perception network becomes one static ONNX graph, from the network's inputs to classes of voxels."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import onnxruntime
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from deploy.bundle_files import new_export
from deploy.calibration import CALIBRATION_FILE, FRAMES
from deploy.export import check_precision, write_graph
from deploy.fold import OPSET
from deploy.graphs import Graph
from deploy.perception_calibration import choose_keyframes
from deploy.perception_precision import in_precision
from deploy.perception_spec import (
    IMAGES,
    INDEX,
    LIDAR,
    LIMITS,
    OCCUPIED,
    PERCEIVE,
    PRESENT,
    SEMANTICS,
    PerceptionManifest,
)
from deploy.spec import WEIGHTS_FILE
from deploy.torch_runtime import weights_digest
from perception.checkpoint import FORMAT, checkpoint_path, load_network, save_checkpoint
from perception.config import CAMERAS, ModelConfig
from perception.lift import LiftIndex
from perception.lift_table import SIGHTS, lifted_grid
from perception.model import Inputs, OccupancyNet
from perception.prepare import PAINT_STRIDE, STRIDE
from perception.types import FREE, GRID
from perception.voxelize import FEATURES


class Perceive(nn.Module):
    """The network with its decision: what is published, and how likely each voxel is occupied."""

    def __init__(self, model: OccupancyNet) -> None:
        super().__init__()
        self.model = model
        self.reads = tuple(example_inputs(model.config))

    def forward(self, *given: Tensor) -> tuple[UInt8[Tensor, "1 X Y Z"], Float[Tensor, "1 X Y Z"]]:
        told = dict(zip(self.reads, given, strict=True))
        index = None
        if IMAGES in told:
            (cell, near, far), paint = (told[name] for name in INDEX[:-1]), told.get(INDEX[-1])
            index = LiftIndex(cell, near, far, paint)
        lidar = told[LIDAR].float() if LIDAR in told else None  # before all else: TensorRT casts bytes, and no more
        perceived = self.model(Inputs(lidar, told.get(IMAGES), told.get(PRESENT), index))
        likely = torch.softmax(perceived.logits.float(), dim=1).permute(0, 3, 4, 2, 1)  # (1, X, Y, Z, K)
        return perceived.semantics(), 1.0 - likely[..., FREE]


def example_inputs(config: ModelConfig) -> dict[str, Tensor]:
    """Of each input in order, of the right shape and type; random, and the same every time."""
    random = torch.Generator().manual_seed(0)
    inputs: dict[str, Tensor] = {}
    if config.lidar:
        x, y, z = GRID.shape
        full = torch.randint(0, 256, (1, len(FEATURES), z, x, y), generator=random)
        seldom = torch.rand(full.shape, generator=random) < 0.05
        inputs[LIDAR] = (full * seldom).to(torch.uint8)
    if config.camera:
        inputs[IMAGES] = torch.randn(1, len(CAMERAS), 3, config.image_height, config.image_width, generator=random)
        inputs[PRESENT] = torch.ones(1, len(CAMERAS))
        inputs |= zip(INDEX, _example_index(config, random), strict=False)
    return inputs


def _example_index(config: ModelConfig, random: torch.Generator) -> tuple[Int[Tensor, ...], ...]:
    """Of LiftIndex: voxels that look anywhere, at depths in order."""
    i, j, k = lifted_grid(config.lift_step).shape
    cells = len(CAMERAS) * (config.image_height // STRIDE) * (config.image_width // STRIDE)
    borders = config.depth_bins + 1
    cell = torch.randint(0, cells, (SIGHTS, i * j * k), generator=random)
    near = torch.randint(0, borders - 1, cell.shape, generator=random)
    parts = [cell, cell * borders + near, cell * borders + near + 1]
    if config.lidar:
        finest = cells * (STRIDE // PAINT_STRIDE) ** 2
        parts.append(torch.randint(0, finest, (math.prod(GRID.shape),), generator=random))
    return tuple(part.to(torch.int32) for part in parts)


def perception_graph(model: OccupancyNet) -> Graph:
    return Graph(PERCEIVE, Perceive(model.eval()), example_inputs(model.config), (SEMANTICS, OCCUPIED))


def is_perception(checkpoint: Path | str) -> bool:
    """Whether a checkpoint is of a perception; False of what cannot be read, which whoever reads it will tell."""
    path = checkpoint_path(checkpoint)
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        with safe_open(str(path), framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def export_perception(
    checkpoint: Path | str,
    folder: Path,
    precision: str = "fp32",
    calibration: Path | None = None,
    calibration_frames: int = FRAMES,
) -> PerceptionManifest:
    """Writes the export of a checkpoint of `geniedrive train perception`, or of the shipped weights by name.

    Args:
        precision: "fp32", "fp16" or "int8".
        calibration: data root whose keyframes show INT8 the ranges of activations. calibration_frames: how many.

    Raises:
        InputError: the checkpoint cannot be read, no such precision, int8 without calibration data, or `folder` holds
            something else than an export.
        CheckFailed: the graph has something that TensorRT or CUDA graphs refuse.
    """
    check_precision(precision, calibration)
    chosen = choose_keyframes(calibration, calibration_frames) if precision == "int8" else None
    loaded = load_network(checkpoint)
    with new_export(folder) as fresh:
        frames = None if chosen is None else chosen.inputs(loaded.config.model)
        graph = write_graph(perception_graph(in_precision(loaded.model, precision, frames)), fresh)
        save_checkpoint(fresh / WEIGHTS_FILE, loaded.model, loaded.config, loaded.step)
        manifest = PerceptionManifest(
            graph=graph,
            opset=OPSET,
            weights_sha256=weights_digest(loaded.model),
            config=loaded.config,
            step=loaded.step,
            versions={"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
            precision=precision,
            calibration_sha256=chosen.write(fresh / CALIBRATION_FILE) if chosen else None,
            limits=LIMITS[precision],
        )
        manifest.write(fresh)
    return manifest
