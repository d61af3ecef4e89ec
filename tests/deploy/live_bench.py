"""A live forecaster on a bench: time in the test's hands, a labelled stand-in for the engine."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import numpy as np

from calib.transforms import se3
from deploy.live import LiveForecaster
from deploy.live_status import Tick
from deploy.stamps import Verdict
from genie.forecaster import EgoPlan
from perception.types import FREE, GRID, Occupancy, SceneForecast, SensorFrame

T0 = 1_532_402_927_647_951
EMPTY = Occupancy(np.full(GRID.shape, FREE, dtype=np.uint8))


class StandInEngine:
    """STAND-IN: remembers what it was asked; a forecast is the frame's stamp and pose. `gate` holds back `step`."""

    bundle_id = "stand-in"
    computed = 0

    def __init__(self) -> None:
        self.stepped: list[SensorFrame] = []
        self.resets = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def reset(self) -> None:
        self.resets += 1

    def step(self, frame: SensorFrame, plan: EgoPlan = None) -> SceneForecast:
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.stepped.append(frame)
        nothing = np.zeros(0, dtype=np.float32)
        return SceneForecast(
            frame.stamp_us, frame.world_from_ego, nothing, np.zeros(0, np.uint8), nothing, nothing, len(self.stepped)
        )

    def reanchor(self, forecast: SceneForecast, world_from_ego: np.ndarray, stamp_us: int) -> SceneForecast:
        return replace(forecast, world_from_ego=world_from_ego, stamp_us=stamp_us)


@dataclass
class Bench:
    engine: StandInEngine
    live: LiveForecaster
    seconds: float = 100.0

    def odometry(self, us: int) -> Verdict:
        return self.live.offer_odometry(T0 + us, se3(np.array([us * 8e-6, 0.0, 0.0])))

    def occupancy(self, us: int) -> Verdict:
        return self.live.offer_occupancy(T0 + us, EMPTY)

    def frame(self, us: int) -> None:
        self.occupancy(us)
        self.odometry(us)

    def tick_when_new(self) -> Tick:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            tick = self.live.tick()
            if tick.status.is_new_inference or tick.failure:
                return tick
            time.sleep(0.002)
        raise AssertionError("no inference within 5 s")
