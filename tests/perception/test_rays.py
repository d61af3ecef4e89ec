"""Rays that are walked all at once, against each cut at every border of a voxel."""

from __future__ import annotations

import numpy as np

from perception.carving import carve
from perception.ray_iou import directions
from perception.rays import carve_plain, first_seen
from perception.types import CLASS_NAMES, FREE, GRID, VoxelGrid

SMALL = VoxelGrid(shape=(20, 24, 8), voxel_size=0.5, origin=(-5.0, -6.0, -1.0))
CAR = CLASS_NAMES.index("car")


def test_carves_as_the_compiled_twin_does_from_inside_and_outside() -> None:
    rng = np.random.default_rng(1)
    for start in (np.array([1.0, 2.0, 0.5]), np.array([-9.0, 3.0, 1.0]), np.array([0.0, 0.0, 9.0])):
        ends = rng.uniform([-8, -9, -3], [8, 9, 5], (500, 3))
        ends[:20, 0] = start[0]  # along a plane
        ends[10:30, 2] = start[2]
        o, e = ((p - np.array(SMALL.origin)) / SMALL.voxel_size for p in (start, ends))
        plain = carve_plain(o, e, SMALL.shape).reshape(SMALL.shape)
        free, hit = (np.zeros(SMALL.shape, np.uint32) for _ in range(2))
        carve(o, e, free, hit)
        np.testing.assert_array_equal(plain, free)
        last = np.floor(e).astype(int)
        assert hit.sum() == ((last >= 0) & (last < SMALL.shape)).all(1).sum() > 0


def test_sees_the_first_thing_on_the_way() -> None:
    """Two walls: the near one hides the far one; beside it the far one is seen; upwards nothing is."""
    labels = np.full(GRID.shape, FREE, np.uint8)
    labels[150, 90:100] = CAR  # x = 20 .. 20.4 m, y = -4 .. 0
    labels[175, 60:140] = CLASS_NAMES.index("manmade")  # x = 30 m
    up = np.array([0.0, 0.0, 1.0])
    ways = np.array([[1.0, -0.05, 0.0], [1.0, 0.05, 0.0], up])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    seen = first_seen(labels, np.array([0.0, 0.0, 1.84]), ways)
    np.testing.assert_array_equal(seen.kind, [CAR, CLASS_NAMES.index("manmade"), FREE])
    np.testing.assert_allclose(seen.distance[:2], np.array([20.0, 30.0]) * np.hypot(1, 0.05), atol=1e-6)


def test_equals_a_march_in_small_steps() -> None:
    rng = np.random.default_rng(5)
    labels = np.where(rng.random(GRID.shape) < 0.02, CAR, FREE).astype(np.uint8)
    ways, origin = directions()[::401], np.array([0.3, -0.2, 1.7])
    seen = first_seen(labels, origin, ways)
    for way, kind, distance in zip(ways, seen.kind, seen.distance, strict=True):
        steps = np.arange(0.0, 70.0, 0.002)
        voxels = GRID.index_of(origin + steps[:, None] * way)
        inside = ((voxels >= 0) & (voxels < GRID.shape)).all(1)
        values = labels[tuple(voxels[inside].T)]
        met = np.flatnonzero(values != FREE)
        if kind == FREE:
            assert len(met) <= 1  # at most a corner that the small steps touch
        else:
            assert abs(steps[met[0]] - distance) < 0.01
