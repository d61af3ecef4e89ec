"""What an engineer gets without learning: tracked components at constant velocity, and nearest ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.transforms import planar, se3_from_xyz_yaw
from genie.forecaster import EgoPlan, ForecastResult
from genie.observation import ObservedScene, observe, start_observer
from genie.plain_move import constant_velocity, measured_displacement, plain_move
from genie.tracking import centroid_velocity
from perception.types import HORIZONS_S, SensorFrame


class TrackerForecaster:
    """Connected components tracked over a second, moved rigidly; newly seen cells get the nearest ground."""

    def __init__(self, *, fused: bool = False, by_centroids: bool | None = None) -> None:
        """fused: static voxels from the evidence of the past (genie.evidence), not from the present frame alone.
        by_centroids: velocities as those of a plain tracker, without genie.standing; None: if not fused."""
        self.name = "tracker-fused" if fused else "tracker"
        self._fused, self._by_centroids = fused, not fused if by_centroids is None else by_centroids
        self.reset()

    def reset(self) -> None:
        self._observer = start_observer(keep_evidence=self._fused)
        self._scene: ObservedScene | None = None

    def observe(self, frame: SensorFrame) -> None:
        self._scene, self._observer = observe(frame, self._observer)

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        if self._scene is None:
            raise ValueError("forecast() before the first observe()")
        if not isinstance(ego_from_future, np.ndarray):
            ego_from_future = constant_rate_trajectory(self._scene.ego_velocity)
        trajectory = planar(ego_from_future)
        moved = self._by_centroid_velocity() if self._by_centroids else measured_displacement(self._scene)
        semantics = plain_move(self._scene, moved, trajectory, fused=self._fused)
        return ForecastResult(semantics, ego_from_future)

    def _by_centroid_velocity(self) -> NDArray[np.float64]:
        """Displacement [H, K, 3]."""
        assert self._scene is not None and self._observer.world_from_ego is not None  # a frame was observed
        velocity = np.zeros((len(self._scene.objects), 2))
        count = int(self._observer.tracks.visible.sum())
        of_visible = centroid_velocity(self._observer.tracks)[:count]
        velocity[:count] = of_visible @ self._observer.world_from_ego[:2, :2]
        return constant_velocity(velocity)


def constant_rate_trajectory(ego_velocity: NDArray[np.float32]) -> NDArray[np.float64]:
    """Future ego poses [H, 4, 4] at constant speed and yaw rate (ego_velocity: forward, left m/s, rad/s)."""
    seconds = np.asarray(HORIZONS_S)
    speed, slip, rate = (float(v) for v in ego_velocity)
    half = np.where(abs(rate * seconds) < 1e-3, 1e-3, rate * seconds) / 2
    chord = seconds * np.sin(half) / half
    turn = rate * seconds / 2
    x = chord * (speed * np.cos(turn) - slip * np.sin(turn))
    y = chord * (speed * np.sin(turn) + slip * np.cos(turn))
    return se3_from_xyz_yaw(np.stack([x, y, np.zeros_like(x)], -1), rate * seconds)
