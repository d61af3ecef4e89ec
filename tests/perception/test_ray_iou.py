"""RayIoU as published, on scenes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from calib.transforms import se3_from_xyz_yaw
from perception.ray_iou import RayTable, directions, look, origins_of, ray_iou, ray_table
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

CAR, MANMADE = CLASS_NAMES.index("car"), CLASS_NAMES.index("manmade")
ORIGIN = np.array([[0.9, 0.0, 1.84]])


def street() -> np.ndarray:
    labels = np.full(GRID.shape, FREE, np.uint8)
    labels[:, :, 2] = DRIVEABLE
    labels[140:150, 95:100, 3:6] = CAR
    labels[170] = MANMADE
    return labels


def test_the_rays_are_the_published_ones() -> None:
    unit = directions()
    assert unit.shape == (14040, 3)  # 39 pitches, 360 azimuths
    pitches = np.unique(np.round(np.arcsin(unit[:, 2]), 9))
    assert pitches[0] == pytest.approx(-np.pi / 4) and pitches[1] == pytest.approx(-(np.pi / 2 - np.arctan(2)))
    assert 0.21 <= pitches[-1] < 0.225


def test_the_truth_scores_one_and_nothing_scores_zero() -> None:
    sight = look(street(), ORIGIN)
    assert ray_iou(ray_table(sight, street())).mean.value == 1.0
    assert ray_iou(ray_table(sight, np.full(GRID.shape, FREE, np.uint8))).mean.value == 0.0
    assert not ray_iou(ray_table(look(np.full(GRID.shape, FREE, np.uint8), ORIGIN), street())).mean.valid


def test_thickness_behind_a_surface_is_no_gain_and_a_shift_costs_by_threshold() -> None:
    """A wall 1.2 m too far: wrong within 1 m, right within 2 and 4 m. mIoU would be 0; a wall made thick, which mIoU
    rewards where truth is thick, is the same to a ray."""
    truth = np.full(GRID.shape, FREE, np.uint8)
    truth[150] = MANMADE
    shifted = np.roll(truth, 3, axis=0)
    score = ray_iou(ray_table(look(truth, ORIGIN), shifted))
    # Rays to the sides meet it at a slant, up to 1.2 m / cos: those beyond 2 m are wrong there too.
    assert score.at[0].value == 0.0 and score.at[1].value > 0.5 and score.at[2].value > score.at[1].value
    thick = truth.copy()
    thick[150:160] = MANMADE
    assert ray_iou(ray_table(look(truth, ORIGIN), thick)).mean.value == 1.0


def test_counts_by_hand() -> None:
    """Two classes: 8 of 10 rays right and 2 taken for the other; the other has 4 of 5 right, 1 lost."""
    right = np.zeros((3, 17), np.int64)
    right[:, CAR], right[:, DRIVEABLE] = (8, 8, 9), 4
    truth, forecast = np.zeros(17, np.int64), np.zeros(17, np.int64)
    truth[CAR], truth[DRIVEABLE], forecast[CAR], forecast[DRIVEABLE] = 10, 5, 8, 6
    score = ray_iou(RayTable(right, truth, forecast))
    expected = [(8 / 10 + 4 / 7) / 2, (8 / 10 + 4 / 7) / 2, (9 / 9 + 4 / 7) / 2]
    np.testing.assert_allclose([s.value for s in score.at], expected)
    assert score.mean.value == pytest.approx(np.mean(expected))


def test_origins_are_places_of_the_scene_within_the_grid_at_most_8() -> None:
    mount = se3_from_xyz_yaw(np.array([0.9, 0.0, 1.84]), 0.0)
    poses = [se3_from_xyz_yaw(np.array([100 + 5.0 * k, 7.0, 0.0]), 0.0) for k in range(30)]
    found = origins_of(poses, 10, mount)
    assert len(found) == 8 and (np.abs(found[:, :2]) < 39).all()
    # From frame 10, those of frames 3 to 17 are within 39 m (0.9 m ahead of the ego each): the first and the last stay.
    np.testing.assert_allclose(found[[0, -1]], [[-34.1, 0.0, 1.84], [35.9, 0.0, 1.84]], atol=1e-9)
    assert len(origins_of(poses[:3], 0, mount)) == 3
