"""What evaluation asks of anything that forecasts: baselines, the PyTorch model, an exported bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genie.command import Command
from perception.types import SensorFrame

# Where the ego will go: poses ego_from_future float64 [H, 4, 4]; only a command; or nothing is told.
EgoPlan: TypeAlias = NDArray[np.float64] | Command | None


@dataclass(frozen=True)
class ForecastResult:
    """semantics: uint8 [H, 200, 200, 16], step h in the future ego frame; ego_from_future: float64 [H, 4, 4].

    origin: int64 [H, 200, 200], where each cell came from (genie.forecast); confidence: float32 [H, 50, 50]; both
    None where the forecaster does not tell.
    """

    semantics: NDArray[np.uint8]
    ego_from_future: NDArray[np.float64]
    origin: NDArray[np.int64] | None = None
    confidence: NDArray[np.float32] | None = None


class Forecaster(Protocol):
    """Observes every frame of a sequence in order; forecasts when asked, from what it has observed so far."""

    name: str

    def reset(self) -> None:
        """Forgets everything: a new sequence begins."""
        ...

    def observe(self, frame: SensorFrame) -> None:
        """Takes the next frame. Frames may be 0.1 s (stream) or 0.5 s (keyframes) apart: use the stamps."""
        ...

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        """Forecasts HORIZONS_S after the last observed frame.

        Args:
            ego_from_future: float64 [H, 4, 4], the future ego poses in the current ego frame (ego mode "given"),
                a command ("commanded") or None ("predicted"): the forecaster then uses its own trajectory.
        """
        ...
