"""STAND-IN for deploy.pipeline.Pipeline, for tests of the node alone: no bundle, no network.

It forecasts by moving the last occupancy along a constant ego velocity (nearest voxel, free outside): real shapes and
contents that follow from the input, so that a test can tell a right message from a wrong one.

Run as a script it is the node with this engine.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.transforms import inverse, planar, se3_from_xyz_yaw
from perception.types import FREE, GRID, HORIZONS_S, SceneForecast, SensorFrame


def warp(semantics: NDArray[np.uint8], source_from_target: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Occupancy [X, Y, Z] as seen from another planar pose."""
    centres = GRID.centers()[:, :, 0]  # (X, Y, 3)
    index = GRID.index_of(centres @ source_from_target[:3, :3].T + source_from_target[:3, 3])[..., :2]
    inside = ((index >= 0) & (index < GRID.shape[:2])).all(axis=-1)
    out = np.full(GRID.shape, FREE, dtype=np.uint8)
    out[inside] = semantics[index[inside][:, 0], index[inside][:, 1]]
    return out


class StandInEngine:
    computed, rig_sha256 = 0, None

    def __init__(self, chosen: object) -> None:
        """chosen: the parameters of the node."""
        self.bundle_id = "stand-in"
        self._previous: SensorFrame | None = None
        self._count = 0

    def warm_up(self) -> None:
        pass

    def reset(self) -> None:
        self._previous = None

    def step(self, frame: SensorFrame, plan: object = None) -> SceneForecast:
        assert frame.occupancy is not None
        times = np.array(HORIZONS_S)
        velocity = np.zeros(3)  # x, y, yaw per second
        if self._previous is not None:
            moved = planar(inverse(self._previous.world_from_ego) @ frame.world_from_ego)
            velocity = moved / ((frame.stamp_us - self._previous.stamp_us) / 1e6)
        self._previous = frame
        self._count += 1
        trajectory = np.outer(times, velocity)
        poses = se3_from_xyz_yaw(np.column_stack([trajectory[:, :2], 0 * times]), trajectory[:, 2])
        return SceneForecast(
            stamp_us=frame.stamp_us,
            world_from_ego=frame.world_from_ego,
            horizons_s=times.astype(np.float32),
            semantics=np.stack([warp(frame.occupancy.semantics, pose) for pose in poses]),
            trajectory=trajectory.astype(np.float32),
            confidence=np.linspace(0.9, 0.4, len(times), dtype=np.float32)[:, None, None]
            * np.linspace(0.5, 1.0, 50, dtype=np.float32)[None, :, None]
            * np.ones((1, 1, 50), dtype=np.float32),
            inference_id=self._count,
        )

    def reanchor(self, forecast: SceneForecast, world_from_ego: NDArray[np.float64], stamp_us: int) -> SceneForecast:
        """The future frames stay where they are in the world and in time; only the frame they are told in changes."""
        old = forecast.trajectory.astype(np.float64)
        futures = se3_from_xyz_yaw(np.column_stack([old[:, :2], 0 * old[:, 0]]), old[:, 2])
        moved = planar(inverse(world_from_ego) @ forecast.world_from_ego @ futures)
        return replace(
            forecast,
            stamp_us=stamp_us,
            world_from_ego=world_from_ego,
            horizons_s=forecast.horizons_s - np.float32((stamp_us - forecast.stamp_us) / 1e6),
            trajectory=moved.astype(np.float32),
        )


if __name__ == "__main__":
    from genie_ros.forecast_node import run
    from genie_ros.process import exit_code_of

    sys.exit(exit_code_of(lambda: run(sys.argv[1:], StandInEngine)))
