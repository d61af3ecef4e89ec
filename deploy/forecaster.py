"""An exported bundle as a forecaster for evaluation: `geniedrive eval --model EXPORT_DIR`."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.pipeline import poses_of, tick_inputs
from deploy.runtime import OnnxRuntime
from deploy.spec import ROWS, TRAJECTORY
from genie.forecaster import ForecastResult
from genie.observation import ObservedScene, observe, start_observer
from genie.rows import as_voxels
from perception.types import SensorFrame


class BundleForecaster:
    """Runs the graph over the last frames when a forecast is asked for: a state depends on exactly the last `history`
    frames (see genie.model_forecaster.ModelForecaster, its twin in PyTorch)."""

    def __init__(self, bundle: Path, *, threads: int = 2) -> None:
        """
        Raises:
            InputError: the folder is not a whole export.
        """
        self._runtime = OnnxRuntime(bundle, threads=threads)
        self.name = Path(bundle).name
        self.reset()

    def reset(self) -> None:
        self._observer = start_observer()
        self._recent: deque[ObservedScene] = deque(maxlen=self._runtime.manifest.config.model.history + 1)

    def observe(self, frame: SensorFrame) -> None:
        scene, self._observer = observe(frame, self._observer)
        self._recent.append(scene)

    def forecast(self, ego_from_future: NDArray[np.float64] | None) -> ForecastResult:
        if not self._recent:
            raise ValueError("forecast() before the first observe()")
        self._runtime.reset()
        for scene in self._recent:
            outputs = self._runtime.tick(tick_inputs(scene, ego_from_future))
        poses = ego_from_future if ego_from_future is not None else poses_of(outputs[TRAJECTORY])
        return ForecastResult(as_voxels(outputs[ROWS].copy()), poses)
