"""Voxel features against a plain count, point by point and ray by ray."""

from __future__ import annotations

import numpy as np
import pytest

from calib.errors import InputError
from calib.transforms import apply, inverse, se3_from_xyz_yaw
from perception.preprocess import clean_returns
from perception.rays import carve_plain
from perception.types import GRID
from perception.voxelize import FEATURES, LidarSweep, deskew, voxelize

EGO_FROM_SENSOR = se3_from_xyz_yaw(np.array([0.94, 0.0, 1.84]), -np.pi / 2)


@pytest.fixture(scope="module")
def sweeps() -> list[LidarSweep]:
    """Three revolutions of a 32-beam lidar at real size, 0.05 s and 0.6 m apart, over a road among walls."""
    rng = np.random.default_rng(2)
    out = []
    for index in range(3):
        azimuth, elevation = np.meshgrid(np.arange(1084) * 2 * np.pi / 1084, np.radians(np.linspace(-30.67, 10.67, 32)))
        below = np.where(elevation < -0.02, 1.84 / np.sin(-np.minimum(elevation, -0.02)), np.inf)
        reach = np.minimum(below, rng.uniform(5, 70, azimuth.shape)).ravel()
        flat = np.cos(elevation).ravel()
        unit = np.stack([flat * np.cos(azimuth).ravel(), flat * np.sin(azimuth).ravel(), np.sin(elevation).ravel()], 1)
        intensity = rng.uniform(0, 255, len(unit))
        points = np.column_stack([unit * reach[:, None], intensity, np.zeros(len(unit))]).astype(np.float32)
        pose = se3_from_xyz_yaw(np.array([100 + 0.6 * index, 50.0, 0.0]), 0.3 + 0.02 * index)
        out.append(LidarSweep(points, 1_000_000 + 50_000 * index, pose, EGO_FROM_SENSOR))
    return out


def test_equals_a_plain_count(sweeps: list[LidarSweep]) -> None:
    now = sweeps[-1]
    found = voxelize(sweeps[::-1], now.world_from_ego, now.stamp_us)  # in any order
    hits, light, low = np.zeros(GRID.shape), np.zeros(GRID.shape), np.zeros(GRID.shape)
    age, crossed = np.full(GRID.shape, np.inf), np.zeros(GRID.shape, np.int64)
    for sweep in sweeps:
        now_from_ego = inverse(now.world_from_ego) @ sweep.world_from_ego
        returns = clean_returns(sweep.points, sweep.ego_from_sensor)
        points = apply(now_from_ego, returns.points)
        for point, intensity in zip(points[::7], returns.intensity[::7], strict=True):
            x, y, z = GRID.index_of(point)
            if 0 <= x < 200 and 0 <= y < 200 and 0 <= z < 16:
                hits[x, y, z] += 1
                light[x, y, z] += intensity
                low[x, y, z] += (point[2] + 1.0) / 0.4 - z
                age[x, y, z] = (now.stamp_us - sweep.stamp_us) * 1e-6
        origin = apply(now_from_ego, sweep.ego_from_sensor[:3, 3])
        in_voxels = [(place - np.array(GRID.origin)) / GRID.voxel_size for place in (origin, points)]
        crossed += carve_plain(*in_voxels, GRID.shape).reshape(GRID.shape)
    # Every seventh return by hand: as many as there are in a sweep thinned to those.
    thin = []
    for sweep in sweeps:
        rows = clean_returns(sweep.points, sweep.ego_from_sensor).rows[::7]
        thin.append(LidarSweep(sweep.points[rows], sweep.stamp_us, sweep.world_from_ego, sweep.ego_from_sensor))
    few = voxelize(thin, now.world_from_ego, now.stamp_us)
    np.testing.assert_array_equal(few.hits, hits)
    np.testing.assert_allclose(few.intensity, light / np.maximum(hits, 1), atol=1e-3)
    np.testing.assert_allclose(few.height, low / np.maximum(hits, 1), atol=1e-6)
    np.testing.assert_array_equal(few.age, age)
    # All rays carve; the twin walks all at once. Rays through edges may differ in the last bit.
    assert (found.crossings != crossed).mean() < 1e-4
    assert abs(int(found.crossings.sum()) - int(crossed.sum())) < 1e-4 * crossed.sum()


def test_what_stands_stays_in_its_voxel_when_the_ego_moves(sweeps: list[LidarSweep]) -> None:
    """A pole seen from three places is one pole; with the poses left out it is smeared."""
    pole = np.array([[112.0, 56.0, 1.1]])
    seen = []
    for sweep in sweeps:
        local = apply(inverse(sweep.world_from_ego @ sweep.ego_from_sensor), pole)
        points = np.column_stack([local, [[100.0, 0.0]]]).astype(np.float32)
        seen.append(LidarSweep(points, sweep.stamp_us, sweep.world_from_ego, sweep.ego_from_sensor))
    now = seen[-1]
    moved = voxelize(seen, now.world_from_ego, now.stamp_us).hits
    assert moved.max() == 3 and (moved > 0).sum() == 1
    frozen = [LidarSweep(s.points, s.stamp_us, now.world_from_ego, s.ego_from_sensor) for s in seen]
    assert (voxelize(frozen, now.world_from_ego, now.stamp_us).hits > 0).sum() > 1


def test_features_are_bytes_in_the_networks_layout(sweeps: list[LidarSweep]) -> None:
    now = sweeps[-1]
    found = voxelize(sweeps, now.world_from_ego, now.stamp_us)
    out = found.encoded()
    assert out.shape == (len(FEATURES), 16, 200, 200) and out.dtype == np.uint8
    hits = out[FEATURES.index("hits")].transpose(1, 2, 0)
    np.testing.assert_array_equal(hits > 0, found.hits > 0)
    fresh = out[FEATURES.index("freshness")].transpose(1, 2, 0)
    assert (fresh[found.age == 0] == 255).all() and (fresh[found.hits == 0] == 0).all()
    assert np.abs(fresh[np.isclose(found.age, 0.1)] - 255 * 0.9).max() <= 1


def test_refuses_nothing_and_the_future(sweeps: list[LidarSweep]) -> None:
    with pytest.raises(InputError, match="no sweep"):
        voxelize([], np.eye(4), 0)
    with pytest.raises(InputError, match="after the stamp"):
        voxelize(sweeps, sweeps[0].world_from_ego, sweeps[0].stamp_us)


def test_deskewing_undoes_the_motion_within_a_revolution() -> None:
    """A wall measured while the car turns and drives: straight again, to 2 mm at 60 degrees a second."""
    rng = np.random.default_rng(4)
    wall = np.column_stack([np.full(500, 12.0), rng.uniform(-8, 8, 500), rng.uniform(-1, 2, 500)])  # at the end
    turn, way = np.radians(3.0), 0.75  # in 0.05 s
    share = rng.uniform(0, 1, 500)
    end_from_start = inverse(se3_from_xyz_yaw(np.array([way, 0.0, 0.0]), turn))
    measured = np.empty_like(wall)
    for row, (s, point) in enumerate(zip(share, wall, strict=True)):
        start_from_then = se3_from_xyz_yaw(np.array([way * s, 0.0, 0.0]), turn * s)
        measured[row] = apply(inverse(end_from_start @ start_from_then), point)
    out = deskew(measured, share, inverse(end_from_start))
    assert np.abs(out - wall).max() < 0.012
    assert np.abs(measured - wall).max() > 0.5  # and it was not straight
