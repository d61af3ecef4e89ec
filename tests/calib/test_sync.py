from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.sync import Turns, estimate_offset, interpolate_pose, pair_stamps, turns_of_poses, turns_of_rates
from calib.transforms import se3, se3_from_quaternion


def drive(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """world_from_body [n, 4, 4]: bends of several seconds, and the body rocking on its springs."""
    phase = rng.uniform(0, 2 * np.pi, 6)
    yaw = 0.5 * np.sin(0.35 * times + phase[0]) + 0.2 * np.sin(1.1 * times + phase[1])
    pitch = 0.006 * np.sin(7.1 * times + phase[2]) + 0.004 * np.sin(4.3 * times + phase[3])
    roll = 0.006 * np.sin(6.2 * times + phase[4]) + 0.004 * np.sin(3.7 * times + phase[5])
    turns = [
        cv2.Rodrigues(np.array([0, 0, y]))[0] @ cv2.Rodrigues(np.array([r, p, 0]))[0]
        for y, p, r in zip(yaw, pitch, roll, strict=True)
    ]
    return np.stack([se3(np.zeros(3), turn) for turn in turns])


def gyroscope(rng: np.random.Generator, seed: int) -> Turns:
    """100 Hz, with the noise and bias of a cheap one."""
    times = np.arange(0, 40, 0.01)
    exact = turns_of_poses(times, drive(times, np.random.default_rng(seed)))
    rates = np.gradient(exact.angles, times, axis=0) + rng.normal(0, 0.004, exact.angles.shape) + [0.002, -0.003, 0.004]
    return turns_of_rates(times, rates)


def odometry(rng: np.random.Generator, seed: int, late: float) -> Turns:
    """10 Hz, 0.03 deg of noise; its stamps are `late` too small."""
    times = np.arange(0.41, 39.5, 0.1)
    poses = drive(times, np.random.default_rng(seed))
    for pose in poses:
        pose[:3, :3] = pose[:3, :3] @ cv2.Rodrigues(rng.normal(0, np.radians(0.03), 3))[0]
    return turns_of_poses(times - late, poses)


@pytest.mark.parametrize(("seed", "late"), [(1, 0.0373), (2, -0.081), (3, 0.0), (4, 0.15)])
def test_the_offset_of_a_gyroscope_and_an_odometry_is_told_within_2_ms(seed: int, late: float) -> None:
    rng = np.random.default_rng(seed + 100)
    found = estimate_offset(gyroscope(rng, seed), odometry(rng, seed, late))
    assert found.valid and found.sigma < 0.001
    assert found.seconds == pytest.approx(late, abs=0.002)
    assert abs(found.seconds - late) < 4 * found.sigma


def test_a_sensor_mounted_sideways_is_turned_first() -> None:
    rng = np.random.default_rng(7)
    first, second = gyroscope(rng, 7), odometry(rng, 7, 0.02)
    ego_from_sensor = se3_from_quaternion(np.zeros(3), np.array([0.5, -0.5, 0.5, -0.5]))
    mounted = Turns(second.times, second.angles @ ego_from_sensor[:3, :3])  # as the sensor itself feels it
    assert not estimate_offset(first, mounted).valid
    assert estimate_offset(first, mounted.seen_from(ego_from_sensor)).seconds == pytest.approx(0.02, abs=0.002)


def test_straight_driving_and_another_drive_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(0, 40, 0.01)
    still = turns_of_rates(times, rng.normal(0, 0.004, (len(times), 3)))
    assert not estimate_offset(still, turns_of_rates(times[::10], rng.normal(0, 0.004, (len(times[::10]), 3)))).valid
    assert not estimate_offset(gyroscope(rng, 1), odometry(rng, 2, 0.0)).valid


def test_real_driving_within_2_ms_where_the_car_turns(mini_root: Path) -> None:
    """Official 50 Hz poses; the second sensor is made of them, at 10 Hz with noise and a known offset."""
    told = 0
    for path in sorted((mini_root / "can_bus").glob("*_pose.json")):
        rows = json.loads(path.read_text())
        times = np.array([row["utime"] for row in rows]) * 1e-6
        kept = np.diff(times, prepend=0) > 1e-4
        times = times[kept] - times[0]
        poses = np.stack([se3_from_quaternion(np.array(r["pos"]), np.array(r["orientation"])) for r in rows])[kept]
        at, rng = np.arange(0.203, times[-1] - 0.2, 0.1), np.random.default_rng(0)
        after = np.searchsorted(times, at)
        share = (at - times[after - 1]) / (times[after] - times[after - 1])
        second = np.stack([interpolate_pose(poses[i - 1], poses[i], f) for i, f in zip(after, share, strict=True)])
        for pose in second:
            pose[:3, :3] = pose[:3, :3] @ cv2.Rodrigues(rng.normal(0, np.radians(0.02), 3))[0]
        found = estimate_offset(turns_of_poses(times, poses), turns_of_poses(at - 0.037, second))
        if found.valid:
            told += 1
            assert found.seconds == pytest.approx(0.037, abs=0.002), path.name
    assert told >= 2  # the others go nearly straight, and say so


def test_stamps_are_paired_with_their_nearest_and_never_twice() -> None:
    lidar, camera = np.array([0, 50_000, 100_000, 150_000]), np.array([-4_000, 12_000, 96_000, 104_000, 190_000])
    assert pair_stamps(lidar, camera, 10_000).tolist() == [[0, 0], [2, 2]]
    assert pair_stamps(lidar, camera, 40_000).tolist() == [[0, 0], [2, 2], [3, 4]]
    assert pair_stamps(lidar, np.array([], dtype=np.int64), 10_000).shape == (0, 2)
    assert pair_stamps(lidar, np.array([148_000]), 10_000).tolist() == [[3, 0]]
