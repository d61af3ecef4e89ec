from __future__ import annotations

import numpy as np
import pytest

from calib.sync import interpolate_pose
from calib.transforms import (
    quaternion_from_rotation,
    quaternion_from_yaw,
    se3_from_quaternion,
    se3_from_xyz_yaw,
    yaw_of,
)
from deploy.kinematics import kinematics_of
from deploy.poses import PoseHistory


@pytest.mark.parametrize("seed", range(20))
def test_quaternions_come_back_up_to_sign(seed: int) -> None:
    wxyz = np.random.default_rng(seed).normal(size=4) * np.array([1.0, 1.0, 1.0, 10.0 ** -(seed % 8)])
    rotation = se3_from_quaternion(np.zeros(3), wxyz)[:3, :3]
    found = quaternion_from_rotation(rotation)
    assert found[0] >= 0
    np.testing.assert_allclose(se3_from_quaternion(np.zeros(3), found)[:3, :3], rotation, atol=1e-12)


@pytest.mark.parametrize("half_turn", [[0.0, 1, 0, 0], [0.0, 0, 1, 0], [0.0, 0, 0, 1]])
def test_half_turns_about_each_axis(half_turn: list[float]) -> None:
    rotation = se3_from_quaternion(np.zeros(3), np.array(half_turn))[:3, :3]
    np.testing.assert_allclose(np.abs(quaternion_from_rotation(rotation)), half_turn, atol=1e-12)


def test_interpolation_turns_the_short_way_across_pi() -> None:
    first, second = (se3_from_xyz_yaw(np.array([x, 0.0, 0.0]), yaw) for x, yaw in ((10.0, 3.1), (12.0, -3.1)))
    middle = interpolate_pose(first, second, 0.5)
    assert abs(yaw_of(middle)) == pytest.approx(np.pi, abs=1e-9)
    assert middle[0, 3] == pytest.approx(11.0)
    assert interpolate_pose(first, second, 0.0) is first and interpolate_pose(first, second, 1.0) is second


def test_history_interpolates_inside_and_refuses_outside_and_in_gaps() -> None:
    history = PoseHistory(span_us=1_000_000, max_gap_us=100_000)
    for stamp in (0, 20_000, 40_000, 500_000):
        pose = se3_from_quaternion(np.array([stamp / 1e6, 0.0, 0.0]), np.array(quaternion_from_yaw(0.1)))
        history.append(stamp, pose)
    assert history.at(30_000)[0, 3] == pytest.approx(0.03)
    assert history.at(20_000)[0, 3] == 0.02
    assert history.at(-1) is None and history.at(500_001) is None and history.at(300_000) is None
    history.append(1_030_000, np.eye(4))
    assert history.at(20_000) is None and history.at(40_000) is not None  # older than the span


def test_speed_is_told_in_the_frame_of_the_vehicle() -> None:
    times = np.arange(1, 7) * 0.5
    sideways = np.stack([0 * times, 3 * times, 0 * times], axis=1)
    motion = kinematics_of(sideways, times)
    np.testing.assert_allclose(motion.lateral, 3.0)
    np.testing.assert_allclose(motion.longitudinal, 0.0, atol=1e-12)
    braking = kinematics_of(np.stack([10 * times - times**2, 0 * times, 0 * times], axis=1), times)
    np.testing.assert_allclose(braking.longitudinal, 10 - 2 * times, atol=1e-9)
    np.testing.assert_allclose(braking.acceleration, -2.0, atol=1e-9)


def test_a_first_point_close_to_now_does_not_make_an_error_of_position_into_speed() -> None:
    times = np.array([-0.49, 0.01, 0.51, 1.01])
    trajectory = np.stack([8 * times + 0.3, 0 * times, 0 * times], axis=1)  # 0.3 m ahead of where the car really is
    np.testing.assert_allclose(kinematics_of(trajectory, times).longitudinal, 8.0)
    np.testing.assert_allclose(kinematics_of(trajectory[1:], times[1:]).longitudinal, 8.0)
