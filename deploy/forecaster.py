"""An exported bundle as a forecaster for evaluation: `geniedrive eval --model EXPORT_DIR`."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from deploy.graph_runtime import Array
from deploy.pipeline import poses_of, tick_inputs
from deploy.runtime import OnnxRuntime
from deploy.spec import CONFIDENCE, ROWS, TRAJECTORY
from genie.forecaster import EgoPlan, ForecastResult
from genie.observation import ObservedScene, observe, start_observer
from genie.rows import as_voxels
from perception.types import SensorFrame


class BundleForecaster:
    """Every frame is a tick, as on the car (genie.gated_forecaster is its twin in PyTorch). Of the dense
    form a state depends on exactly the last `history` frames, so those few are run when a forecast is asked for.

    needed, computed: columns that each gated tick had to compute, and that it did, over all sequences.
    """

    def __init__(self, bundle: Path, *, threads: int = 2, most_columns: int | None = None) -> None:
        """
        Args:
            most_columns: that a tick may compute (deploy.pipeline.Pipeline).

        Raises:
            InputError: the folder is not a whole export, or a bound on the dense form.
        """
        self._runtime = OnnxRuntime(bundle, threads=threads)
        self._runtime.bound(most_columns)
        manifest = self._runtime.manifest
        self._gated = manifest.form == "gated"
        self._keep = 1 if self._gated else manifest.config.model.history + 1
        self.name = Path(bundle).name
        self.needed: list[int] = []
        self.computed: list[int] = []
        self.reset()

    def reset(self) -> None:
        self._runtime.reset()
        self._observer = start_observer()
        self._waiting: deque[ObservedScene] = deque()

    def observe(self, frame: SensorFrame) -> None:
        scene, self._observer = observe(frame, self._observer)
        self._waiting.append(scene)
        if len(self._waiting) > self._keep:
            first = self._waiting.popleft()
            if self._gated:
                self._tick(first, None)

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        """Raises ValueError if nothing was observed since the last one."""
        if not self._waiting:
            raise ValueError("forecast() before an observe()")
        if not self._gated:
            self._runtime.reset()
        for scene in self._waiting:
            outputs = self._tick(scene, ego_from_future)
        if self._gated:
            self._waiting.clear()
        poses = ego_from_future if isinstance(ego_from_future, np.ndarray) else poses_of(outputs[TRAJECTORY])
        return ForecastResult(as_voxels(outputs[ROWS].copy()), poses, confidence=outputs[CONFIDENCE].copy())

    def _tick(self, scene: ObservedScene, plan: EgoPlan) -> dict[str, Array]:
        outputs = self._runtime.tick(tick_inputs(scene, plan))
        if self._gated:
            self.needed.append(self._runtime.bucket().needed)
            self.computed.append(self._runtime.bucket().bucket)
        return outputs
