"""How often a forecast voxel is right, measured on scenes that were not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genie.data.scenes import load_scenes
from genie.data.stream import is_stream
from genie.evaluation.rollout import WindowResult, evaluate
from genie.model import GenieDrive
from genie.model_forecaster import ModelForecaster
from perception.types import FREE, HORIZONS_S

ORIGINS = 3  # observed, moved, invented


def measure_confidence(model: GenieDrive, dataroot: Path, source: str, held_out: list[str]) -> Tensor:
    """Share of voxels forecast as occupied whose class is right, by horizon and origin: float32 [H, 3].

    Where an origin never occurs, the share over all origins of that horizon stands in.
    """
    right, shown = (np.zeros((len(HORIZONS_S), ORIGINS)) for _ in range(2))

    def count(window: WindowResult) -> None:
        for h, target in enumerate(window.targets):
            forecast, truth = window.forecast.semantics[h], window.sequence.semantics[target]
            occupied = forecast != FREE
            assert window.forecast.origin is not None  # ModelForecaster tells
            origin = np.broadcast_to(window.forecast.origin[h][..., None], occupied.shape)[occupied]
            shown[h] += np.bincount(origin, minlength=ORIGINS)
            right[h] += np.bincount(origin, (forecast == truth)[occupied], minlength=ORIGINS)

    protocol = "stream" if is_stream(source) else "i2world"
    evaluate(ModelForecaster(model, "held out"), load_scenes(dataroot, source, held_out), protocol, on_window=count)
    overall = right.sum(1, keepdims=True) / np.maximum(shown.sum(1, keepdims=True), 1)
    share = np.where(shown > 0, right / np.maximum(shown, 1), overall)
    return torch.from_numpy(share.astype(np.float32))
