"""The gated model, in PyTorch, as a forecaster for evaluation: every frame is a tick, as on the car."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from genie.buckets import START, choose_bucket, refresh_due
from genie.forecaster import EgoPlan, ForecastResult
from genie.gated import gate_input, gated_tick
from genie.gated_state import N, empty_gated_state
from genie.model import Forecast, GenieDrive
from genie.model_forecaster import plan_tensors, tick_tensors, told
from genie.observation import ObservedScene, observe, start_observer
from perception.types import SensorFrame


class GatedForecaster:
    """buckets: how many ticks took each bucket, over all sequences."""

    def __init__(self, model: GenieDrive, name: str, *, show_fill: bool = True, keep_evidence: bool = True) -> None:
        """See genie.model_forecaster.ModelForecaster."""
        self.model, self.name, self.show_fill, self.keep_evidence = model, name, show_fill, keep_evidence
        self.buckets: Counter[int] = Counter()
        self.needed: list[int] = []
        self.reset()

    def reset(self) -> None:
        self._observer = start_observer(keep_evidence=self.keep_evidence)
        self._state = empty_gated_state(self.model.config)
        self._bucket = START
        self._pending: ObservedScene | None = None
        self._rows = torch.zeros(0, dtype=torch.int64)

    def observe(self, frame: SensorFrame) -> None:
        if self._pending is not None:
            self.run_pending(None)
        self._pending, self._observer = observe(frame, self._observer)

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        return told(self.run_pending(ego_from_future), ego_from_future, show_fill=self.show_fill)

    def computed_columns(self) -> NDArray[np.bool_]:
        """Which of the 2500 columns the last tick computed."""
        computed = np.zeros(N, bool)
        computed[self._rows.numpy()] = True
        return computed

    @torch.inference_mode()
    def run_pending(self, ego_from_future: EgoPlan) -> Forecast:
        """The tick of the frame that was observed last, which `forecast` or the next `observe` would run."""
        if self._pending is None:
            raise ValueError("forecast() before an observe()")
        scene, self._pending = self._pending, None
        gate, dt_s = self.model.config.gate, float(scene.dt[0])
        occupancy, ego = tick_tensors(scene)
        refresh = torch.tensor([float(refresh_due(self._bucket, dt_s, gate))])
        selection = self.model.gate(gate_input(occupancy, ego, refresh), self._state.columns)
        needed = int(selection.needed)
        self._bucket = choose_bucket(needed, self._bucket, dt_s, gate)
        self.buckets[self._bucket.bucket] += 1
        self.needed.append(needed)
        self._rows = selection.order[: self._bucket.bucket]
        plan = plan_tensors(ego_from_future)
        forecast, self._state = gated_tick(
            self.model, occupancy, ego, selection, self._bucket.bucket, self._state, plan
        )
        return forecast
