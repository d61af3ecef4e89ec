"""The node as it is, with the real engine behind a saboteur: what the test writes into a file happens at the next step.

    nan, speed     the forecast is spoilt on its way out of the engine
    slow SECONDS   the step takes so much longer
    die            the step raises

python sabotaged_engine.py SABOTAGE_FILE [--autostart --ros-args ...]. SABOTAGE_FILE.done holds the monotonic time at
which the last sabotaged step ended: what a detection time is counted from.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from genie_ros.forecast_node import Engine, load_pipeline, run
from genie_ros.parameters import NodeParameters
from genie_ros.process import exit_code_of
from numpy.typing import NDArray

from calib.files import write_text
from genie.forecaster import EgoPlan
from perception.types import SceneForecast, SensorFrame


class Saboteur:
    """Asks the file before each step."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine, self._file = engine, file
        self.bundle_id, self.rig_sha256 = engine.bundle_id, engine.rig_sha256

    @property
    def computed(self) -> int:
        return self._engine.computed

    def warm_up(self) -> None:
        self._engine.warm_up()

    def reset(self) -> None:
        self._engine.reset()

    def step(self, frame: SensorFrame, plan: EgoPlan = None) -> SceneForecast:
        what, _, much = self._file.read_text(encoding="ascii").partition(" ")
        forecast = self._engine.step(frame, plan)
        if what == "slow":
            time.sleep(float(much))
        trajectory = forecast.trajectory
        if what == "nan":
            trajectory = np.full_like(trajectory, np.nan)
        if what == "speed":
            trajectory = np.outer(forecast.horizons_s, [90.0, 0.0, 0.0]).astype(np.float32)
        if what and what != "slow":
            write_text(self._file.with_suffix(".done"), repr(time.monotonic()))
        if what == "die":
            raise RuntimeError("sabotage: the inference thread dies")
        return replace(forecast, trajectory=trajectory)

    def reanchor(self, forecast: SceneForecast, world_from_ego: NDArray[np.float64], stamp_us: int) -> SceneForecast:
        return self._engine.reanchor(forecast, world_from_ego, stamp_us)


def main(arguments: list[str]) -> int:
    file = Path(arguments[0])

    def sabotaged(chosen: NodeParameters) -> Saboteur:
        return Saboteur(load_pipeline(chosen), file)

    return exit_code_of(lambda: run(arguments[1:], sabotaged))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
