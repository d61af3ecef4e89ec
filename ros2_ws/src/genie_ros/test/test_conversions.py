"""Messages: layout, frames and units, through the serialisation that DDS uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from genie_msgs.msg import (
    DrivingCommand,
    EgoTrajectory,
    OccupancyForecast,
    ScenePredictionStatus,
    SemanticOccupancy,
)
from genie_ros import conversions, views
from genie_ros.sensor_conversions import foreseen_from_message
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2

from calib.errors import InputError
from calib.transforms import se3, se3_from_quaternion, se3_from_xyz_yaw
from deploy.expected import foreseen
from deploy.live_status import Level, LiveStatus
from genie.command import Command
from perception.types import FREE, GRID, HORIZONS_S, SceneForecast

STAMP_US = 1_532_402_927_647_951
STATUS = LiveStatus(
    level=Level.HOLD,
    reasons=("no_occupancy",),
    stamp_us=STAMP_US,
    observation_us=STAMP_US - 50_000,
    input_age_s=0.25,
    inference_time_s=0.5,
    is_new_inference=True,
    inference_id=7,
    engine_id="abc",
    camera_mask=0b101011,
    command=Command.LEFT,
    columns=128,
    published_count=4,
    inference_count=3,
    rejected_count=2,
    skipped_count=1,
)


def through_dds(message, kind):
    return deserialize_message(serialize_message(message), kind)


@pytest.fixture(scope="module")
def forecast() -> SceneForecast:
    """Left turn at 5 m/s and 0.1 rad/s; random voxels, so that no two axes can be taken for each other."""
    rng = np.random.default_rng(0)
    times = np.array(HORIZONS_S, dtype=np.float32)
    yaw = 0.1 * times
    semantics = rng.integers(0, 18, (6, *GRID.shape), dtype=np.uint8)
    return SceneForecast(
        stamp_us=STAMP_US,
        world_from_ego=se3_from_xyz_yaw(np.array([400.0, 1100.0, 0.0]), 0.3),
        horizons_s=times,
        semantics=semantics,
        trajectory=np.stack([50 * np.sin(yaw), 50 * (1 - np.cos(yaw)), yaw], axis=1),
        confidence=rng.random((6, 50, 50), dtype=np.float32),
        inference_id=7,
    )


def test_occupancy_is_z_y_x_with_x_fastest_and_comes_back_the_same():
    semantics = np.full(GRID.shape, FREE, dtype=np.uint8)
    semantics[3, 5, 7] = 4
    semantics[199, 0, 15] = 1
    message = through_dds(conversions.occupancy_message(STAMP_US, semantics, "base_link"), SemanticOccupancy)
    assert message.data[(7 * 200 + 5) * 200 + 3] == 4
    assert message.data[(15 * 200 + 0) * 200 + 199] == 1
    assert conversions.us_from_time(message.header.stamp) == STAMP_US
    back = conversions.occupancy_from_message(message, "base_link")
    np.testing.assert_array_equal(back.semantics, semantics)
    assert back.semantics.flags.c_contiguous and back.semantics.flags.writeable


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: setattr(m.header, "frame_id", "lidar"), "frame_id"),
        (lambda m: setattr(m, "label_schema", "semantic-kitti"), "label_schema"),
        (lambda m: setattr(m.grid, "voxel_size", 0.5), "grid"),
        (lambda m: setattr(m, "data", m.data[:-1]), "size of data"),
        (lambda m: m.data.__setitem__(0, 18), "class id 18"),
    ],
)
def test_an_occupancy_that_the_model_was_not_made_for_is_refused(change, says):
    message = conversions.occupancy_message(STAMP_US, np.zeros(GRID.shape, dtype=np.uint8), "base_link")
    change(message)
    with pytest.raises(InputError, match=says):
        conversions.occupancy_from_message(message, "base_link")


def test_a_forecast_tells_perception_what_it_told(forecast):
    """Over DDS and back: every step, due when and where it was forecast."""
    status = conversions.status_message(STATUS, "base_link")
    data, poses = conversions.forecast_data(forecast.semantics), conversions.future_poses(forecast)
    message = through_dds(conversions.forecast_message(forecast, data, poses, status, "base_link"), OccupancyForecast)
    told = foreseen_from_message(message, "base_link")
    for found, wanted in zip(told, foreseen(forecast), strict=True):
        assert (found.told_us, found.due_us) == (wanted.told_us, wanted.due_us)
        np.testing.assert_allclose(found.told_from_due, wanted.told_from_due, atol=1e-6)
        np.testing.assert_array_equal(found.semantics, wanted.semantics)
        assert found.confidence == pytest.approx(wanted.confidence, abs=1e-5)
    for change, says in (
        (lambda m: setattr(m.header, "frame_id", "map"), "frame_id"),
        (lambda m: m.time_from_start.pop(), "size of data"),
        (lambda m: m.ego_poses.pop(), "5 poses"),
        (lambda m: m.data.__setitem__(7, 18), "class id 18"),
    ):
        wrong = through_dds(message, OccupancyForecast)
        change(wrong)
        with pytest.raises(InputError, match=says):
            foreseen_from_message(wrong, "base_link")


def test_forecast_layout_times_frames_and_confidence(forecast):
    status = conversions.status_message(STATUS, "base_link")
    data = conversions.forecast_data(forecast.semantics)
    poses = conversions.future_poses(forecast)
    message = conversions.forecast_message(forecast, data, poses, status, "base_link")
    message = through_dds(message, OccupancyForecast)
    voxels = np.frombuffer(message.data, np.uint8).reshape(6, 16, 200, 200)
    for t, x, y, z in ((0, 1, 2, 3), (5, 199, 0, 15), (2, 0, 199, 0)):
        assert voxels[t, z, y, x] == forecast.semantics[t, x, y, z]
    np.testing.assert_array_equal(voxels, np.einsum("txyz->tzyx", forecast.semantics))
    confidence = np.asarray(message.confidence, dtype=np.float32).reshape(6, 50, 50)
    assert message.confidence_stride == 4
    assert confidence[1, 2, 3] == forecast.confidence[1, 3, 2]
    times = [conversions.s_from_duration(d) for d in message.time_from_start]
    np.testing.assert_allclose(times, HORIZONS_S)
    np.testing.assert_allclose(
        conversions.matrix_from_pose(message.ego_poses[5])[:3, 3], [*forecast.trajectory[5, :2], 0.0], atol=1e-6
    )
    assert (message.header.frame_id, message.grid.size_z, message.grid.origin.z) == ("base_link", 16, -1.0)


def test_the_quick_order_of_bytes_is_the_plain_one():
    semantics = np.random.default_rng(1).integers(0, 18, (3, *GRID.shape), dtype=np.uint8)
    plain = np.ascontiguousarray(semantics.transpose(0, 3, 2, 1)).tobytes()
    assert conversions.forecast_data(semantics).tobytes() == plain
    strided = semantics[::2]
    assert conversions.forecast_data(strided).tobytes() == strided.transpose(0, 3, 2, 1).tobytes()


def test_status_keeps_every_field():
    message = through_dds(conversions.status_message(STATUS, "base_link"), ScenePredictionStatus)
    assert message.level == ScenePredictionStatus.HOLD
    assert conversions.us_from_time(message.observation_stamp) == STATUS.observation_us
    for name in (
        "is_new_inference",
        "inference_id",
        "engine_id",
        "published_count",
        "inference_count",
        "camera_mask",
        "columns",
    ):
        assert getattr(message, name) == getattr(STATUS, name)
    assert (message.rejected_count, message.skipped_count, list(message.reasons)) == (2, 1, ["no_occupancy"])
    assert message.command == DrivingCommand.LEFT
    assert (message.input_age, message.inference_time) == (0.25, 0.5)


def test_trajectory_has_the_speed_and_turn_rate_of_its_arc(forecast):
    status = conversions.status_message(STATUS, "base_link")
    message = conversions.trajectory_message(forecast, conversions.future_poses(forecast), status, "base_link")
    message = through_dds(message, EgoTrajectory)
    np.testing.assert_allclose([p.longitudinal_velocity_mps for p in message.points], 5.0, atol=0.02)
    np.testing.assert_allclose([p.lateral_velocity_mps for p in message.points], 0.0, atol=0.02)
    np.testing.assert_allclose([p.heading_rate_rps for p in message.points], 0.1, atol=1e-6)
    np.testing.assert_allclose([p.acceleration_mps2 for p in message.points], 0.0, atol=0.05)


def test_poses_told_at_once_are_those_of_the_matrices(forecast):
    turned = replace(forecast, trajectory=np.array([[1.0, -2.0, yaw] for yaw in (0, 0.3, -3.1, 3.1, 1.6, -1.6)]))
    for scene in (forecast, turned):
        poses = conversions.future_poses(scene)
        for pose, plain in zip(poses, conversions.ego_from_future(scene), strict=True):
            np.testing.assert_allclose(conversions.matrix_from_pose(pose), plain, atol=1e-9)


def points_of(scene, step):
    return views.points_message(scene, step, views.occupied(scene.semantics[step]), "base_link")


def test_points_are_occupied_voxel_centres_in_the_frame_of_the_header(forecast):
    semantics = np.full((6, *GRID.shape), FREE, dtype=np.uint8)
    semantics[1, 150, 100, 4] = 4  # centre (20.2, 0.2, 0.8) in the ego frame one second ahead
    semantics[5, :2, 0, 0] = 1
    scene = replace(forecast, semantics=semantics)
    message = through_dds(points_of(scene, views.step_nearest(scene, 1.1)), PointCloud2)
    points = np.frombuffer(message.data, dtype=views.POINT)
    assert (message.width, len(points), points["class"].tolist()) == (1, 1, [4])
    x, y, yaw = scene.trajectory[1]
    expected = [x + 20.2 * np.cos(yaw) - 0.2 * np.sin(yaw), y + 20.2 * np.sin(yaw) + 0.2 * np.cos(yaw), 0.8]
    np.testing.assert_allclose([points["x"][0], points["y"][0], points["z"][0]], expected, atol=1e-4)
    assert points_of(scene, 5).width == 2
    assert points_of(scene, 3).width == 0


def test_poses_come_back_through_odometry_and_bad_ones_are_refused():
    pose = se3_from_quaternion(np.array([1200.5, 800.25, 0.5]), np.array([0.2, -0.4, 0.1, 0.8]))
    message = conversions.odometry_message(STAMP_US, pose, "map", "base_link")
    np.testing.assert_allclose(conversions.matrix_from_pose(message.pose.pose), pose, atol=1e-12)
    message.pose.pose.orientation.w = 0.0
    with pytest.raises(InputError, match="quaternion of length"):
        conversions.matrix_from_pose(message.pose.pose)
    with pytest.raises(InputError, match="nan"):
        conversions.matrix_from_pose(conversions.pose_from_matrix(se3(np.array([np.nan, 0.0, 0.0]))))


def test_durations_before_the_stamp_are_valid():
    duration = conversions.duration_from_s(-0.25)
    assert (duration.sec, duration.nanosec) == (-1, 750_000_000)
    assert conversions.s_from_duration(duration) == -0.25
