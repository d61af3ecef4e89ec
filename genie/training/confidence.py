"""How often a forecast voxel is right, measured on scenes that were not trained on.

By what tells most of it: whether the ego's way was given or is the model's own, whether the ego moves (seen from where
it stands, nothing is resampled), how far ahead, and where a voxel came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from genie.data.scenes import load_scenes
from genie.data.stream import is_stream, list_stream_scenes
from genie.evaluation.rollout import Ego, WindowResult, evaluate
from genie.forecaster import Forecaster
from genie.gated_forecaster import GatedForecaster
from genie.model import CONFIDENCE_SHAPE, GenieDrive
from genie.model_forecaster import ModelForecaster
from perception.types import FREE, GRID

EGO_OF_ROW: tuple[Ego, Ego] = ("predicted", "given")  # as plan.given is 0 or 1
# Of few voxels, the share of all that differ from them in the ego's moving alone stands in: as if so many were added.
PRIOR_VOXELS = 10_000.0
VOXELS_OF_A_WINDOW = 6 * 20_000.0  # that every style is scaled to: about so many are occupied


def measure_confidence(model: GenieDrive, dataroot: Path, source: str, held_out: list[str]) -> Tensor:
    """Share of voxels forecast as occupied whose class is right: float32, as GenieDrive.confidence_of_origin.

    Both label styles of a synthetic data root count the same.
    """
    right, shown = (np.zeros(CONFIDENCE_SHAPE) for _ in range(2))
    for style in _styles(dataroot, source, held_out):
        for row, ego in enumerate(EGO_OF_ROW):
            of_style = _count(model, dataroot, style, held_out, ego)
            right[row] += of_style.right
            shown[row] += of_style.shown
    return torch.from_numpy(shares(right, shown).astype(np.float32))


def shares(
    right: Float[NDArray[np.float64], "2 2 H 3"], shown: Float[NDArray[np.float64], "2 2 H 3"]
) -> Float[NDArray[np.float64], "2 2 H 3"]:
    """Of voxels right and shown; what was never shown takes the share of what is nearest to it."""
    of_horizon = right.sum((1, 3), keepdims=True) / np.maximum(shown.sum((1, 3), keepdims=True), 1.0)
    whole_right, whole = (part.sum(1, keepdims=True) for part in (right, shown))
    coarse = (whole_right + PRIOR_VOXELS * of_horizon) / (whole + PRIOR_VOXELS)
    found: NDArray[np.float64] = (right + PRIOR_VOXELS * coarse) / (shown + PRIOR_VOXELS)
    return found


def _styles(dataroot: Path, source: str, held_out: list[str]) -> list[str]:
    both = source == "stream" and set(held_out) <= set(list_stream_scenes(dataroot, "stream-mini"))
    return ["stream", "stream-mini"] if both else [source]


class _Counted(NamedTuple):
    """Voxels, [2, H, 3]."""

    right: NDArray[np.float64]
    shown: NDArray[np.float64]


def _count(model: GenieDrive, dataroot: Path, source: str, held_out: list[str], ego: Ego) -> _Counted:
    """Scaled, so that every style shows as many voxels in all."""
    right, shown = (np.zeros(CONFIDENCE_SHAPE[1:]) for _ in range(2))
    origins = CONFIDENCE_SHAPE[-1]

    def count(window: WindowResult) -> None:
        assert window.forecast.origin is not None  # these forecasters tell
        moves = np.linalg.norm(window.forecast.ego_from_future[:, :2, 3], axis=1) > GRID.voxel_size
        for h, target in enumerate(window.targets):
            forecast, truth = window.forecast.semantics[h], window.sequence.semantics[target]
            occupied = forecast != FREE
            origin = np.broadcast_to(window.forecast.origin[h][..., None], occupied.shape)[occupied]
            shown[int(moves[h]), h] += np.bincount(origin, minlength=origins)
            right[int(moves[h]), h] += np.bincount(origin, (forecast == truth)[occupied], minlength=origins)

    stream = is_stream(source)
    # As on the car; keyframes begin anew with every window, which the dense twin does sooner.
    forecaster: Forecaster = (GatedForecaster if stream else ModelForecaster)(model, "held out")
    scenes = load_scenes(dataroot, source, held_out)
    found = evaluate(forecaster, scenes, "stream" if stream else "i2world", ego=ego, on_window=count)
    scale = found.windows * VOXELS_OF_A_WINDOW / max(shown.sum(), 1.0)
    return _Counted(right * scale, shown * scale)
