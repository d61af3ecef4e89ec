"""What the baselines forecast, against scenes whose future is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from calib.transforms import inverse, planar, se3_from_xyz_yaw
from genie.baselines import (
    ConstantVelocityForecaster,
    CopyForecaster,
    EgoWarpForecaster,
    measured_velocity,
    without_boxes,
)
from genie.boxes import mask_of_boxes, rasterise_boxes
from genie.data.sequence import Sequence
from genie.data.tracks import Boxes, SceneTracks
from genie.evaluation.registry import BASELINES, make_forecaster
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID, HORIZONS_S

CAR = CLASS_NAMES.index("car")
ROAD_LEVEL = 2
STAND = np.tile(np.eye(4), (len(HORIZONS_S), 1, 1))


def cars(seconds: float, speeds: tuple[float, ...]) -> Boxes:
    """Cars 8 m apart that drive along x from 0.2 m."""
    count = len(speeds)
    center = np.array([[0.2 + speed * seconds, 8.2 * row, 0.6] for row, speed in enumerate(speeds)]).reshape(-1, 3)
    velocity = np.stack([np.array(speeds), np.zeros(count)], axis=-1)
    return Boxes(
        np.arange(count), np.full(count, CAR), center, np.tile([4.4, 2.0, 1.6], (count, 1)), np.zeros(count), velocity
    )


def scene_of(boxes: Boxes, world_from_ego: np.ndarray) -> np.ndarray:
    """Road everywhere, cars on it."""
    things = rasterise_boxes(boxes, inverse(world_from_ego))
    road = things[:, :, ROAD_LEVEL]
    road[road == FREE] = DRIVEABLE
    return things


def drive(speeds: tuple[float, ...] = (), frames: int = 7, step_s: float = 0.1) -> tuple[Sequence, SceneTracks]:
    """The ego stands at the origin; the cars drive until the present, which is the last frame."""
    stamps = (np.arange(frames) * step_s * 1e6).round().astype(np.int64) + 1_000_000
    boxes = tuple(cars(s * 1e-6, speeds) for s in stamps - stamps[-1])
    semantics = np.stack([scene_of(b, np.eye(4)) for b in boxes])
    poses = np.tile(np.eye(4), (frames, 1, 1))
    return Sequence("scene-1", semantics, stamps, poses, Path("scene-1.npz")), SceneTracks(stamps, boxes)


def ego_drive(speed: float, yaw_rate: float, step_s: float) -> tuple[Sequence, np.ndarray]:
    """The ego on a circle, one second observed; and its true future poses in the present ego frame."""
    times = np.arange(-1.0, 1e-9, step_s)

    def pose(t: np.ndarray) -> np.ndarray:
        radius = speed / yaw_rate
        yaw = yaw_rate * t
        return se3_from_xyz_yaw(np.stack([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), 0 * t], axis=-1), yaw)

    semantics = np.broadcast_to(np.uint8(FREE), (len(times), *GRID.shape))
    start = se3_from_xyz_yaw(np.array([300.0, -20.0, 1.0]), 2.0)
    stamps = (times * 1e6).round().astype(np.int64) + 5_000_000
    return Sequence("scene-1", semantics, stamps, start @ pose(times), Path("scene-1.npz")), pose(np.array(HORIZONS_S))


def test_copy_shows_the_last_frame_again() -> None:
    sequence, _ = drive((5.0,))
    forecaster = CopyForecaster()
    for frame in sequence.frames():
        forecaster.observe(frame)
    forward = STAND.copy()
    forward[:, 0, 3] = 8.0
    for semantics in forecaster.forecast(forward).semantics:
        np.testing.assert_array_equal(semantics, sequence.semantics[-1])


def test_ego_warp_moves_the_last_frame_by_each_pose() -> None:
    sequence, _ = drive((0.0,))
    forecaster = EgoWarpForecaster()
    forecaster.observe(sequence.frame(0))
    voxels = np.arange(1, 7) * 5
    poses = STAND.copy()
    poses[:, 0, 3] = voxels * GRID.voxel_size
    forecast = forecaster.forecast(poses)
    for n, semantics in zip(voxels, forecast.semantics, strict=True):
        np.testing.assert_array_equal(semantics[:-n], sequence.semantics[0][n:])
        assert (semantics[-n:] == FREE).all()


@pytest.mark.parametrize("step_s", [0.1, 0.5])
def test_ego_warp_without_a_plan_continues_speed_and_yaw_rate(step_s: float) -> None:
    sequence, future = ego_drive(speed=8.0, yaw_rate=0.2, step_s=step_s)
    forecaster = EgoWarpForecaster()
    for frame in sequence.frames():
        forecaster.observe(frame)
    np.testing.assert_allclose(planar(forecaster.forecast(None).ego_from_future), planar(future), atol=0.02)
    forecaster.reset()
    forecaster.observe(sequence.frame(0))  # one frame tells no speed
    np.testing.assert_allclose(forecaster.forecast(None).ego_from_future, STAND, atol=1e-9)


@pytest.mark.parametrize("step_s", [0.1, 0.5])
def test_constant_velocity_sees_the_future_of_cars_that_keep_their_speed(step_s: float) -> None:
    speeds = (8.0, -4.0, 0.0)
    sequence, tracks = drive(speeds, step_s=step_s)
    forecaster = ConstantVelocityForecaster()
    forecaster.begin(sequence, tracks)
    forecaster.reset()
    for frame in sequence.frames():
        forecaster.observe(frame)
    for seconds, semantics in zip(HORIZONS_S, forecaster.forecast(STAND).semantics, strict=True):
        np.testing.assert_array_equal(semantics, scene_of(cars(seconds, speeds), np.eye(4)))


def test_constant_velocity_in_the_frame_of_a_moving_ego() -> None:
    sequence, tracks = drive((8.0,))
    forecaster = ConstantVelocityForecaster()
    forecaster.begin(sequence, tracks)
    for frame in sequence.frames():
        forecaster.observe(frame)
    poses = STAND.copy()
    poses[:, 0, 3] = 10 * GRID.voxel_size  # beyond the car's start, 4 m on
    for seconds, pose, semantics in zip(HORIZONS_S, poses, forecaster.forecast(poses).semantics, strict=True):
        expected = scene_of(cars(seconds, (8.0,)), pose)
        np.testing.assert_array_equal(semantics[:-10], expected[:-10])  # what comes into view is not known


def test_annotation_noise_is_not_a_velocity() -> None:
    _, tracks = drive((0.2, 0.4))
    now = int(tracks.stamp_us[-1])
    np.testing.assert_allclose(measured_velocity(tracks.at(now), tracks, now), [[0, 0], [0.4, 0]], atol=1e-9)


def test_a_car_seen_for_less_than_half_a_second_has_its_velocity_since_then() -> None:
    _, tracks = drive((5.0, 8.0))
    late = tuple(b.select(b.instance == 0) if i < 4 else b for i, b in enumerate(tracks.boxes))
    now = int(tracks.stamp_us[-1])
    velocity = measured_velocity(tracks.at(now), SceneTracks(tracks.stamp_us, late), now)
    np.testing.assert_allclose(velocity, [[5, 0], [8, 0]], atol=1e-6)


def test_the_road_goes_on_under_a_car_and_a_car_leaves_no_shadow() -> None:
    boxes = cars(0.0, (0.0,))
    scene = scene_of(boxes, np.eye(4))
    np.testing.assert_array_equal(
        without_boxes(scene, mask_of_boxes(boxes, np.eye(4))), scene_of(cars(0.0, ()), np.eye(4))
    )


def test_an_oracle_without_annotations_is_refused() -> None:
    sequence, _ = drive(())
    with pytest.raises(InputError, match="no annotated boxes"):
        ConstantVelocityForecaster().begin(sequence, None)


def test_nothing_is_forecast_before_something_is_seen() -> None:
    for name in BASELINES:
        with pytest.raises(ValueError, match="before"):
            make_forecaster(name).forecast(STAND)


def test_names_are_those_asked_for() -> None:
    assert [make_forecaster(name).name for name in BASELINES] == list(BASELINES)
