"""Forecasts without a model: what any model has to be judged against.

copy               the last frame, as if the ego stood still.
ego-warp           the last frame moved by the ego motion (nearest voxel, free outside).
constant-velocity  an oracle: the annotated boxes at constant velocity, on the ego-moved rest of the last frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import inverse, planar
from genie.boxes import mask_of_boxes, rasterise_boxes
from genie.data.sequence import Sequence
from genie.data.tracks import Boxes, SceneTracks
from genie.forecaster import EgoPlan, ForecastResult
from genie.objects import nearest_uncovered
from genie.tracker_baseline import constant_rate_trajectory
from genie.warp import ego_warp
from perception.types import FREE, GROUND, HORIZONS_S, SensorFrame

RATE_SPANS_S = (0.5, 0.4, 0.3, 0.2, 0.1)  # over which velocities are measured: the longest that is annotated
STILL_BELOW_MPS = 0.3  # annotation noise: a box that is slower stands


def predicted_trajectory(poses: list[SensorFrame]) -> NDArray[np.float64]:
    """Future ego poses [H, 4, 4] in the present ego frame, at the speed and yaw rate of the last half second.

    Args:
        poses: frames in time order; the last is the present. One frame alone: the ego stands.
    """
    now = poses[-1]
    earlier = [f for f in poses[:-1] if now.stamp_us - f.stamp_us <= (RATE_SPANS_S[0] + 0.1) * 1e6]
    if not earlier:
        return constant_rate_trajectory(np.zeros(3, np.float32))
    then = earlier[0]
    seconds = (now.stamp_us - then.stamp_us) * 1e-6
    x, y, yaw = planar(inverse(then.world_from_ego) @ now.world_from_ego)
    # The chord of the last span, turned into the present frame's axes at its middle, gives forward and left.
    cos, sin = np.cos(yaw / 2), np.sin(yaw / 2)
    forward, left = cos * x + sin * y, cos * y - sin * x
    return constant_rate_trajectory(np.array([forward, left, yaw], np.float32) / np.float32(seconds))


class _LastFrame:
    """Remembers the last half second."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._frames: deque[SensorFrame] = deque(maxlen=8)

    def observe(self, frame: SensorFrame) -> None:
        if frame.occupancy is None:
            raise ValueError("the baselines need an occupancy in every frame")
        self._frames.append(frame)

    def last(self) -> tuple[SensorFrame, NDArray[np.uint8]]:
        if not self._frames or self._frames[-1].occupancy is None:
            raise ValueError("forecast() before the first observe()")
        return self._frames[-1], self._frames[-1].occupancy.semantics

    def trajectory(self, ego_from_future: EgoPlan) -> NDArray[np.float64]:
        return ego_from_future if isinstance(ego_from_future, np.ndarray) else predicted_trajectory(list(self._frames))


class CopyForecaster(_LastFrame):
    """The last frame again, in the future ego frames, as if nothing and nobody moved."""

    name = "copy"

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        _, semantics = self.last()
        standing = np.tile(np.eye(4), (len(HORIZONS_S), 1, 1))
        return ForecastResult(np.broadcast_to(semantics, (len(HORIZONS_S), *semantics.shape)), standing)


class EgoWarpForecaster(_LastFrame):
    """The last frame, moved by the ego motion and nothing else."""

    name = "ego-warp"

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        _, semantics = self.last()
        poses = self.trajectory(ego_from_future)
        return ForecastResult(np.stack([ego_warp(semantics, pose) for pose in poses]), poses)


class ConstantVelocityForecaster(_LastFrame):
    """True boxes re-rasterised at constant velocity. An oracle: it sees annotations of the present and the past."""

    name = "constant-velocity"

    def __init__(self) -> None:
        super().__init__()
        self._tracks: SceneTracks | None = None

    def begin(self, sequence: Sequence, tracks: SceneTracks | None) -> None:
        """Takes the annotations of the scene that comes next; `reset` keeps them.

        Raises:
            InputError: there are none.
        """
        if tracks is None:
            raise InputError(
                f"{sequence.name} has no annotated boxes",
                expected="annotation tables (v1.0-*): constant-velocity moves true boxes",
                fix="give a data root with tables, or choose the tracker",
                path=sequence.source,
            )
        self._tracks = tracks

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        if self._tracks is None:
            raise ValueError("forecast() before begin()")
        frame, semantics = self.last()
        poses = self.trajectory(ego_from_future)
        boxes = self._tracks.at(frame.stamp_us)
        velocity = measured_velocity(boxes, self._tracks, frame.stamp_us)
        bare = without_boxes(semantics, mask_of_boxes(boxes, inverse(frame.world_from_ego)))
        steps = []
        for seconds, pose in zip(HORIZONS_S, poses, strict=True):
            later = replace(boxes, center_world=boxes.center_world + np.pad(velocity * seconds, ((0, 0), (0, 1))))
            things = rasterise_boxes(later, inverse(frame.world_from_ego @ pose))
            steps.append(np.where(things != FREE, things, ego_warp(bare, pose)))
        return ForecastResult(np.stack(steps), poses)


def without_boxes(semantics: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The scene [X, Y, Z] with the voxels `inside` boxes freed and the nearest ground continued under them."""
    nearest = nearest_uncovered(inside.any(axis=2).astype(np.int32)).ravel()
    ground = np.where(np.isin(semantics, GROUND), semantics, FREE).reshape(-1, semantics.shape[2])
    return np.where(inside, ground[nearest].reshape(semantics.shape), semantics).astype(np.uint8)


def measured_velocity(boxes: Boxes, tracks: SceneTracks, stamp_us: int) -> NDArray[np.float64]:
    """World velocity [B, 2] (m/s) over the last half second, or since a box was first annotated; zero if slow."""
    velocity = np.zeros((len(boxes), 2))
    unknown = np.ones(len(boxes), bool)
    for span in RATE_SPANS_S:
        before = tracks.at(stamp_us - round(span * 1e6))
        _, here, there = np.intersect1d(boxes.instance, before.instance, assume_unique=True, return_indices=True)
        here, there = here[unknown[here]], there[unknown[here]]
        velocity[here] = (boxes.center_world[here, :2] - before.center_world[there, :2]) / span
        unknown[here] = False
    velocity[np.hypot(velocity[:, 0], velocity[:, 1]) < STILL_BELOW_MPS] = 0.0
    return velocity
