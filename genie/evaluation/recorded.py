"""Forecasts that a node published, out of a bag: the online ones get the same table as those made offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.errors import InputError
from genie.data.bag.read import recorded_forecasts
from genie.forecaster import EgoPlan, ForecastResult
from perception.types import SensorFrame


class RecordedForecaster:
    """Tells what was recorded for the frame that was observed last, and computes nothing."""

    def __init__(self, bag: Path, topic: str | None = None) -> None:
        """InputError: see `recorded_forecasts`."""
        self._bag, self._recorded = Path(bag), recorded_forecasts(Path(bag), topic)
        self.name = self._bag.name
        self.reset()

    def reset(self) -> None:
        self._stamp_us: int | None = None

    def observe(self, frame: SensorFrame) -> None:
        self._stamp_us = frame.stamp_us

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        """
        Raises:
            InputError: a plan is given, or nothing was recorded for this frame.
        """
        if ego_from_future is not None:
            raise InputError(
                "a plan for forecasts that were made before",
                expected="the ego mode in which they were made: their own trajectory",
                fix="give --ego predicted",
                path=self._bag,
            )
        if self._stamp_us is None:
            raise ValueError("forecast() before an observe()")
        if self._stamp_us not in self._recorded:
            first, last = min(self._recorded, default=0), max(self._recorded, default=0)
            raise InputError(
                f"no forecast for the frame at {self._stamp_us} us; there are {len(self._recorded)}, {first} to {last}",
                expected="a forecast for each frame that is scored",
                fix="name the scene that was replayed with --scenes, and replay with --lockstep, which skips no frame",
                path=self._bag,
            )
        recorded = self._recorded[self._stamp_us]
        return ForecastResult(recorded.semantics, recorded.ego_from_future, confidence=recorded.confidence)

    def latency_line(self) -> str:
        """The budget in words: publication of the observation to arrival of its forecast, and the engine's part."""
        known = [r for r in self._recorded.values() if np.isfinite(r.latency_s)]
        if not known:
            return "latency: not measured (no odometry of the observations' stamps in the bag)"
        median, p95, p99 = np.percentile([r.latency_s * 1e3 for r in known], [50, 95, 99])
        inference = float(np.median([r.inference_s for r in known])) * 1e3
        return (
            f"latency, observation published to forecast heard: {median:.1f} ms median, {p95:.1f} p95, {p99:.1f} p99 "
            f"of {len(known)}; of it inference {inference:.1f} ms median, conversion, DDS and waiting the rest"
        )
