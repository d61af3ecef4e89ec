"""A perception network that is small enough for tests, real in every other way: exported, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

LIDAR_ALONE = ("model.camera=false", "model.bev_channels=16", "model.fine_channels=8", "model.sweeps=1")
BOTH = (
    "model.bev_channels=16", "model.fine_channels=8", "model.sweeps=2", "model.image_width=96",
    "model.image_height=32", "model.backbone_width=8", "model.camera_channels=8",
)  # fmt: skip


def export_small(folder: Path, settings: Sequence[str]) -> Path:
    """Random weights of seed 1: where something is it says something else than where nothing is."""
    import torch

    from deploy.perception_export import export_perception
    from perception.checkpoint import save_checkpoint
    from perception.config import load_config
    from perception.model import OccupancyNet

    torch.manual_seed(1)
    config = load_config(None, list(settings))
    model = OccupancyNet(config.model).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.any() and name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=0.1)
    save_checkpoint(folder / "model.safetensors", model, config, step=1)
    export_perception(folder / "model.safetensors", folder / "export")
    return folder / "export"
