"""Lidar and cameras in, SceneForecast out: perception and world model in a row. numpy and runtimes; no torch.

perceive   the perception network on the newest sweeps and images
steady     evidence over time, with the world model's own forecast for now as a prior
forecast   deploy.pipeline.Pipeline: observe, tick, assemble
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calib.rig import Rig
from deploy.expected import expected_now
from deploy.perceive import Perception
from deploy.pipeline import Pipeline
from genie.forecaster import EgoPlan
from genie.observation import GAP_S
from perception.steady import Look, SteadyConfig, SteadyOccupancy
from perception.types import SceneForecast, SensorFrame
from perception.voxelize import LidarSweep

_KEPT = 8  # forecasts: those of the last 0.5 s at 12 Hz, and some


class SensorPipeline:
    """One stream of one rig. One thread."""

    def __init__(
        self, perception: Path, bundle: Path, rig: Rig, *, threads: int = 2, steady: SteadyConfig | None = None
    ) -> None:
        """
        Args:
            perception: folder that `geniedrive export perception` wrote. bundle: of the world model.
            threads: of each network on the CPU.

        Raises:
            InputError: one of the folders is not a whole export, or the rig has none of the network's cameras.
        """
        self._perception = Perception(perception, rig, threads=threads)
        self._world_model = Pipeline(bundle, threads=threads)
        self._steady = SteadyOccupancy(steady)
        self._recent: deque[SceneForecast] = deque(maxlen=_KEPT)

    def reset(self) -> None:
        """Forgets the stream."""
        self._steady.reset()
        self._recent.clear()
        self._world_model.reset()

    def step(
        self,
        sweeps: Sequence[LidarSweep],
        images: Mapping[str, NDArray[np.uint8]],
        world_from_ego: NDArray[np.float64],
        stamp_us: int,
        plan: EgoPlan = None,
    ) -> SceneForecast:
        """Forecasts from what the sensors deliver now and what the stream has shown before.

        A gap of more than 1.2 s, or a stamp that is not later than the last, starts afresh, as in Pipeline.step.

        Args:
            sweeps, images: see deploy.perceive.Perception.perceive; what is lost is left out.
            world_from_ego: float64 [4, 4], of the newest sweep (without one, of the images), at `stamp_us`.

        Raises:
            InputError: no sensor of the network delivered, a malformed pose or plan.
        """
        if self._recent and not 0 < stamp_us - self._recent[-1].stamp_us <= GAP_S * 1e6:
            self.reset()
        perceived = self._perception.perceive(sweeps, images)
        start = time.perf_counter()
        look = Look(perceived.occupied, perceived.occupancy.semantics)
        occupancy = self._steady.update(look, world_from_ego, stamp_us, expected_now(self._recent, stamp_us))
        steady_ms = 1e3 * (time.perf_counter() - start)
        forecast = self._world_model.step(SensorFrame(stamp_us, world_from_ego, occupancy).validate(), plan)
        self._recent.append(forecast)
        return replace(forecast, timings_ms={**perceived.stage_ms, "steady": steady_ms, **forecast.timings_ms})
