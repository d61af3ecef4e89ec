"""Sensors to forecast: perception, evidence over time and world model in a row equal the same by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from calib.rig import Rig
from calib.transforms import se3_from_xyz_yaw
from deploy.expected import expected_now
from deploy.perceive import Perception
from deploy.pipeline import Pipeline, poses_of
from deploy.sensor_pipeline import SensorPipeline
from perception.steady import Expected, Look, SteadyOccupancy
from perception.types import FREE, SceneForecast, SensorFrame
from perception.voxelize import LidarSweep
from tests.small_perception import LIDAR_ALONE, export_small

STEPS, STEP_US = 7, 100_000


@pytest.fixture(scope="module")
def perception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("lidar"), LIDAR_ALONE)


@pytest.fixture(scope="module")
def drive(nuscenes_rig: Rig) -> list[LidarSweep]:
    """A revolution every 0.1 s of posts that stand, from an ego at 5 m/s."""
    random = np.random.default_rng(0)
    posts = random.uniform(-40.0, 40.0, (300, 2))
    ego_from_sensor = nuscenes_rig.lidars[0].mount.ego_from_sensor
    sweeps = []
    for t in range(STEPS):
        pose = se3_from_xyz_yaw(np.array([[0.5 * t, 0.0, 0.0]]), np.zeros(1))[0]
        high = np.linspace(0.2, 2.0, 20)
        world = np.concatenate([np.repeat(posts, 20, axis=0), np.tile(high, 300)[:, None]], axis=1)
        sensor_from_world = np.linalg.inv(pose @ ego_from_sensor)
        local = world @ sensor_from_world[:3, :3].T + sensor_from_world[:3, 3]
        points = np.concatenate([local, np.full((len(local), 1), 80.0)], axis=1).astype(np.float32)
        sweeps.append(LidarSweep(points, t * STEP_US + 1_000_000, pose, ego_from_sensor))
    return sweeps


def test_it_is_perception_evidence_and_world_model_in_a_row(
    perception: Path, bundle: Path, nuscenes_rig: Rig, drive: list[LidarSweep]
) -> None:
    whole = SensorPipeline(perception, bundle, nuscenes_rig, threads=1)
    see, steady, model = Perception(perception, nuscenes_rig, threads=1), SteadyOccupancy(), Pipeline(bundle, threads=1)
    past: list[SceneForecast] = []
    helped = 0
    for sweep in drive:
        forecast = whole.step([sweep], {}, sweep.world_from_ego, sweep.stamp_us)
        seen = see.perceive([sweep], {})
        expected = None
        if len(past) >= 5:  # what was told half a second ago of now
            then = past[-5]
            frame = then.world_from_ego @ poses_of(then.trajectory[0])
            expected = Expected(then.semantics[0], frame, float(then.confidence[0].mean()))
            helped += 1
        occupancy = steady.update(
            Look(seen.occupied, seen.occupancy.semantics), sweep.world_from_ego, sweep.stamp_us, expected
        )
        plain = model.step(SensorFrame(sweep.stamp_us, sweep.world_from_ego, occupancy))
        np.testing.assert_array_equal(forecast.semantics, plain.semantics)
        np.testing.assert_array_equal(forecast.confidence, plain.confidence)
        assert list(forecast.timings_ms) == ["prepare", "perceive", "steady", "observe", "tick", "assemble"]
        past.append(forecast)
    assert helped == 2 and (past[-1].semantics != FREE).any()


def test_a_gap_or_an_older_stamp_starts_afresh(
    perception: Path, bundle: Path, nuscenes_rig: Rig, drive: list[LidarSweep]
) -> None:
    whole, fresh = (SensorPipeline(perception, bundle, nuscenes_rig, threads=1) for _ in range(2))
    for sweep in drive[:3]:
        whole.step([sweep], {}, sweep.world_from_ego, sweep.stamp_us)
    first = drive[0]
    for stamp_us in (first.stamp_us + 5_000_000, first.stamp_us):  # a gap, and back
        again = whole.step([first], {}, first.world_from_ego, stamp_us)
        fresh.reset()
        np.testing.assert_array_equal(
            again.semantics, fresh.step([first], {}, first.world_from_ego, stamp_us).semantics
        )


def test_silent_sensors_are_refused_and_nothing_is_forgotten(
    perception: Path, bundle: Path, nuscenes_rig: Rig, drive: list[LidarSweep]
) -> None:
    whole = SensorPipeline(perception, bundle, nuscenes_rig, threads=1)
    whole.step([drive[0]], {}, drive[0].world_from_ego, drive[0].stamp_us)
    with pytest.raises(InputError, match="0 sweeps"):
        whole.step([], {}, drive[1].world_from_ego, drive[1].stamp_us)
    whole.step([drive[1]], {}, drive[1].world_from_ego, drive[1].stamp_us)


def test_a_forecast_for_another_time_is_none_for_now(
    perception: Path, bundle: Path, nuscenes_rig: Rig, drive: list[LidarSweep]
) -> None:
    whole = SensorPipeline(perception, bundle, nuscenes_rig, threads=1)
    told = whole.step([drive[0]], {}, drive[0].world_from_ego, 1_000_000)
    assert expected_now([told], 1_200_000) is None and expected_now([], 1_500_000) is None
    found = expected_now([told], 1_540_000)
    assert found is not None and np.array_equal(found.semantics, told.semantics[0])
    assert expected_now([told], 4_000_000) is not None, "three seconds on is the last step"
