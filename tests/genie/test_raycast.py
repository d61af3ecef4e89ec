"""Rays through the voxel grid agree with a plain twin that cuts each ray at every voxel border."""

from __future__ import annotations

import numpy as np
import pytest

from calib.transforms import se3
from genie.data.raycast import camera_rays, carve, visible_mask
from perception.types import FREE, GRID, VoxelGrid

SMALL = VoxelGrid(shape=(20, 24, 8), voxel_size=0.5, origin=(-5.0, -6.0, -1.0))


def crossed(start: np.ndarray, end: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Indices [n, 3] of the voxels that the segment crosses, in order: the plain twin."""
    cuts = [np.array([0.0, 1.0])]
    for axis, count in enumerate(grid.shape):
        borders = grid.origin[axis] + grid.voxel_size * np.arange(count + 1)
        if end[axis] != start[axis]:
            cuts.append((borders - start[axis]) / (end[axis] - start[axis]))
    t = np.unique(np.concatenate(cuts).clip(0, 1))
    index = grid.index_of(start + ((t[:-1] + t[1:]) / 2)[:, None] * (end - start))
    return index[((index >= 0) & (index < grid.shape)).all(1)]


@pytest.fixture(scope="module")
def segments() -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends [300, 3] inside and outside the grid, and some along an axis."""
    rng = np.random.default_rng(3)
    low, high = np.array(SMALL.origin), SMALL.origin + np.array(SMALL.shape) * SMALL.voxel_size
    starts, ends = (rng.uniform(low - 2, high + 2, (300, 3)) for _ in range(2))
    ends[:20, 0] = starts[:20, 0]
    ends[10:30, 2] = starts[10:30, 2]
    return starts, ends


def test_carve_counts_what_the_plain_twin_counts(segments: tuple[np.ndarray, np.ndarray]) -> None:
    starts, ends = segments
    free, hit = np.zeros(SMALL.shape, np.uint32), np.zeros(SMALL.shape, np.uint32)
    for start, end in zip(starts, ends, strict=True):
        voxel = SMALL.index_of(end)
        if ((voxel >= 0) & (voxel < SMALL.shape)).all():
            hit[tuple(voxel)] += 1
        for v in crossed(start, end, SMALL):
            free[tuple(v)] += not (v == voxel).all()
    counts = carve(starts, ends, SMALL)
    assert free.sum() > 2000 and hit.sum() > 30
    np.testing.assert_array_equal(counts.free, free)
    np.testing.assert_array_equal(counts.hit, hit)


def test_carve_adds_to_earlier_counts_and_takes_one_origin(segments: tuple[np.ndarray, np.ndarray]) -> None:
    starts, ends = segments
    same = np.tile(starts[0], (len(ends), 1))
    counts = carve(starts[0], ends[:150], SMALL)
    assert carve(starts[0], ends[150:], SMALL, into=counts) is counts
    np.testing.assert_array_equal(counts.free, carve(same, ends, SMALL).free)


@pytest.mark.parametrize("reach", [np.inf, 3.0])
def test_visible_mask_sees_what_the_plain_twin_sees(segments: tuple[np.ndarray, np.ndarray], reach: float) -> None:
    starts, ends = segments
    rng = np.random.default_rng(4)
    semantics = np.where(rng.random(SMALL.shape) < 0.15, 4, FREE).astype(np.uint8)
    expected = np.zeros(SMALL.shape, bool)
    for start, end in zip(starts, ends, strict=True):
        far = start + (end - start) / np.linalg.norm(end - start) * min(reach, 100.0)
        for v in crossed(start, far, SMALL):
            expected[tuple(v)] = True
            if semantics[tuple(v)] != FREE and not (v == SMALL.index_of(start)).all():
                break
    found = visible_mask(semantics, starts, ends - starts, reach, SMALL)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(found, expected)


def test_a_wall_hides_what_is_behind_it() -> None:
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[120, 60:140] = 15  # 8.0 to 8.4 m ahead
    ego_from_camera = se3(np.array([0.0, 0.0, 1.5]), np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]))
    intrinsic = np.array([[800.0, 0, 800], [0, 800, 450], [0, 0, 1]])  # 90 degrees wide
    rays = camera_rays(intrinsic, ego_from_camera)
    seen = visible_mask(semantics, rays.origin, rays.directions)
    assert seen[100:121, 100, 6].all() and not seen[121:, 100].any()
    assert seen[120, 82:118, 6].all()
    assert not seen[:100].any()  # behind the camera
    assert not seen[110, 100 + 12].any() and seen[110, 100 + 8].any()  # outside and inside of its 45 degrees
    assert visible_mask(np.full_like(semantics, FREE), rays.origin, rays.directions)[199, 100].any()


def test_camera_rays_leave_no_gaps_in_an_empty_view() -> None:
    empty = np.full(GRID.shape, FREE, np.uint8)
    pose = se3(np.array([0.1, 0.1, 1.5]), np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]))
    intrinsic = np.array([[1266.0, 0, 800], [0, 1266, 450], [0, 0, 1]])
    rays = camera_rays(intrinsic, pose)
    seen = visible_mask(empty, rays.origin, rays.directions)
    in_camera = (GRID.centers() - pose[:3, 3]) @ pose[:3, :3]
    pixel = in_camera @ intrinsic.T
    u, v = pixel[..., 0] / pixel[..., 2], pixel[..., 1] / pixel[..., 2]
    inside = (in_camera[..., 2] > 0) & (u > 0) & (u < 1600) & (v > 0) & (v < 900)
    assert inside.sum() > 50_000
    assert seen[inside].mean() > 0.999
