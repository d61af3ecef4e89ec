"""The nearest-voxel warp, and the region in which moving content is scored."""

from __future__ import annotations

import numpy as np
import pytest

from calib.transforms import apply, inverse, se3, se3_from_xyz_yaw
from genie.boxes import mask_of_boxes
from genie.data.tracks import Boxes
from genie.evaluation.moving import moving_boxes, moving_region
from genie.warp import ego_warp, is_planar, warp_voxels
from perception.types import CLASS_NAMES, FREE, GRID

CAR = CLASS_NAMES.index("car")


def random_scene() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 18, GRID.shape).astype(np.uint8)


def test_standing_still_changes_nothing() -> None:
    scene = random_scene()
    np.testing.assert_array_equal(ego_warp(scene, np.eye(4)), scene)


def test_driving_forward_brings_the_scene_nearer() -> None:
    """5 voxels forward: what was 5 voxels ahead is here; beyond the old grid it is free."""
    scene = random_scene()
    warped = ego_warp(scene, se3_from_xyz_yaw(np.array([5 * GRID.voxel_size, 0.0, 0.0]), 0.0))
    np.testing.assert_array_equal(warped[:-5], scene[5:])
    assert (warped[-5:] == FREE).all()


def test_turning_left_by_a_right_angle() -> None:
    """What was to the left is ahead."""
    scene = random_scene()
    np.testing.assert_array_equal(ego_warp(scene, se3_from_xyz_yaw(np.zeros(3), np.pi / 2)), scene[::-1].swapaxes(0, 1))


def test_columns_agree_with_voxel_by_voxel() -> None:
    scene = random_scene()
    pose = se3_from_xyz_yaw(np.array([3.13, -1.71, 0.47]), 0.37)
    assert is_planar(pose)
    np.testing.assert_array_equal(ego_warp(scene, pose), warp_voxels(scene, pose))


def test_roll_and_pitch_are_looked_up_voxel_by_voxel() -> None:
    pitch = 0.05
    cos, sin = np.cos(pitch), np.sin(pitch)
    pose = se3(np.array([1.0, 0.3, 0.1]), np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]))
    assert not is_planar(pose)
    scene, warped = random_scene(), ego_warp(random_scene(), pose)
    rng = np.random.default_rng(1)
    for target in rng.integers(0, GRID.shape, (200, 3)):
        center = (target + 0.5) * GRID.voxel_size + np.asarray(GRID.origin)
        source = GRID.index_of(apply(pose, center))
        inside = ((source >= 0) & (source < GRID.shape)).all()
        assert warped[tuple(target)] == (scene[tuple(source)] if inside else FREE)


def two_cars(x: float) -> Boxes:
    """One drives along x at 10 m/s; the other, 12 m to its left, creeps at 0.4 m/s; a third is of unknown speed."""
    return Boxes(
        instance=np.arange(3),
        class_id=np.full(3, CAR),
        center_world=np.array([[x, 0.0, 0.8], [0.0, 12.0, 0.8], [0.0, -12.0, 0.8]]),
        size_lwh=np.tile([4.0, 2.0, 1.6], (3, 1)),
        yaw_world=np.zeros(3),
        velocity_world=np.array([[10.0, 0.0], [0.4, 0.0], [np.nan, np.nan]]),
    )


def at(region: np.ndarray, x: float, y: float) -> bool:
    return bool(region[tuple(GRID.index_of(np.array([x, y, 0.8])))])


def test_the_moving_region_is_where_the_mover_is_and_where_it_will_be() -> None:
    """The ego, 3 m behind the world origin at the target, sees both places 3 m further ahead."""
    target_from_world = inverse(se3_from_xyz_yaw(np.array([-3.0, 0.0, 0.0]), 0.0))
    region = moving_region([moving_boxes(two_cars(0.0)), moving_boxes(two_cars(10.0))], target_from_world)
    assert at(region, 3.0, 0.0) and at(region, 13.0, 0.0)
    assert not at(region, 8.0, 0.0)  # between the two
    assert not at(region, 3.0, 12.0)  # creeps
    assert not at(region, 3.0, -12.0)  # unknown
    # Two boxes of 4.4 x 2.4 x 2.0 m with their margins, to within the voxels at their faces.
    assert region.sum() * GRID.voxel_size**3 == pytest.approx(2 * 4.4 * 2.4 * 2.0, rel=0.25)


def test_the_margin_reaches_further() -> None:
    boxes = two_cars(0.0)
    assert mask_of_boxes(boxes, np.eye(4), margin=0.2).sum() > mask_of_boxes(boxes, np.eye(4)).sum()
