"""Lifting by gathers against a loop over voxels, and the table against the cameras themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.camera import project
from calib.rig import Rig
from calib.transforms import apply
from perception.config import CAMERAS, ModelConfig
from perception.lift import EVIDENCE, LiftIndex, goes_on, lift, lift_plain
from perception.lift_table import depth_borders, lifted_grid
from perception.prepare import STRIDE, RigPlan, plan_rig

CONFIG = ModelConfig()


@pytest.fixture(scope="module")
def plan(nuscenes_rig: Rig) -> RigPlan:
    return plan_rig(nuscenes_rig, CONFIG)


def test_the_table_points_where_each_camera_sees_the_voxel(plan: RigPlan) -> None:
    """Every 97th voxel by hand: which cameras have it in their image, at which cell, and in which span of depth."""
    centres = lifted_grid(CONFIG.lift_step).centers().reshape(-1, 3)
    borders = depth_borders(CONFIG.depth_bins, CONFIG.nearest, CONFIG.farthest)
    high, wide = CONFIG.image_height // STRIDE, CONFIG.image_width // STRIDE
    beyond, seen_by_two = len(CAMERAS) * high * wide, 0
    for voxel in range(0, len(centres), 97):
        cells = {}
        for number, (camera, how) in enumerate(zip(plan.cameras, plan.plans, strict=True)):
            assert camera is not None and how is not None
            local = apply(camera.mount.sensor_from_ego, centres[voxel : voxel + 1])
            found = project(how.intrinsics, local)
            if found.inside[0] and borders[0] < local[0, 2] < borders[-1]:
                column, row = np.floor((found.pixels[0] + 0.5) / STRIDE).astype(int)
                cells[(number * high + row) * wide + column] = local[0, 2]
        told = [int(c) for c in plan.table.cell[:, voxel] if c != beyond]
        assert set(told) == set(cells) and len(told) == len(set(told))
        seen_by_two += len(told) == 2
        for sight, cell in enumerate(told):
            near = int(plan.table.near[sight, voxel]) - cell * len(borders)
            far = int(plan.table.far[sight, voxel]) - cell * len(borders)
            assert borders[near] <= max(cells[cell] - 0.4, borders[0]) and borders[far] >= min(
                cells[cell] + 0.4, borders[-1]
            )
            assert 0 <= near < far <= CONFIG.depth_bins
    assert seen_by_two > 20


def test_equals_the_loop(plan: RigPlan) -> None:
    generator = torch.Generator().manual_seed(0)
    high, wide = CONFIG.image_height // STRIDE, CONFIG.image_width // STRIDE
    features = torch.randn(2, 6, 5, high, wide, generator=generator)
    logits = torch.randn(2, 6, CONFIG.depth_bins, high, wide, generator=generator)
    present = torch.tensor([[1.0] * 6, [1.0, 0.0, 1.0, 1.0, 1.0, 0.0]])
    lifted = lift(features, logits, present, LiftIndex.of(plan.table))
    voxels = list(range(0, lifted.lit.shape[2], 211))
    for frame in range(2):
        plain = lift_plain(*(t[frame].numpy().astype(float) for t in (features, logits, present)), plan.table, voxels)
        for part, whole in enumerate(lifted):
            stacked = torch.from_numpy(np.stack([plain[v][part] for v in voxels], axis=1)).float()
            torch.testing.assert_close(whole[frame][:, voxels], stacked, atol=1e-5, rtol=1e-4)
            assert (stacked != 0).any()


def test_a_camera_that_is_absent_says_nothing(plan: RigPlan) -> None:
    """Whatever its image would have held; the others are as they were."""
    high, wide = CONFIG.image_height // STRIDE, CONFIG.image_width // STRIDE
    features, logits = torch.randn(1, 6, 4, high, wide), torch.randn(1, 6, CONFIG.depth_bins, high, wide)
    present = torch.ones(1, 6)
    present[0, 0] = 0.0
    index = LiftIndex.of(plan.table)
    one = lift(features, logits, present, index)
    features[0, 0], logits[0, 0] = 1e3, torch.linspace(-9, 9, CONFIG.depth_bins)[:, None, None]
    torch.testing.assert_close(lift(features, logits, present, index), one)
    ahead = (lifted_grid(CONFIG.lift_step).index_of(np.array([20.0, 0.4, 0.5])) * [800, 8, 1]).sum()
    assert (one.lit[0, :, ahead] == 0).all() and (one.shown[0, :, ahead] == 0).all()
    assert (lift(features, logits, torch.ones(1, 6), index).lit[0, :, ahead] != 0).any()


def test_depth_lights_the_voxel_where_the_ray_ends_and_tells_those_before_it_that_it_goes_on(plan: RigPlan) -> None:
    high, wide = CONFIG.image_height // STRIDE, CONFIG.image_width // STRIDE
    logits = torch.full((1, 6, CONFIG.depth_bins, high, wide), -20.0)
    borders = depth_borders(CONFIG.depth_bins, CONFIG.nearest, CONFIG.farthest)
    depth = 20.0 - 1.7  # m from the front camera to x = 20 m
    logits[:, :, int(np.searchsorted(borders, depth)) - 1] = 20.0
    lifted = lift(torch.ones(1, 6, 1, high, wide), logits, torch.ones(1, 6), LiftIndex.of(plan.table)).lit
    grid = lifted_grid(CONFIG.lift_step)
    ends, goes = (lifted[0, 1 + k].unflatten(0, grid.shape) for k in range(2))
    x, y, z = grid.index_of(np.array([20.0, 0.4, 1.4]))
    assert ends[x, y, z] > 0.99
    assert ends[x - 6, y, z] < 0.01 and goes[x - 6, y, z] > 0.99
    assert ends[x + 8, y, z] < 0.01 and goes[x + 8, y, z] < 0.01


def test_the_chance_to_go_on_falls_from_one_to_zero() -> None:
    beyond = goes_on(torch.randn(1, 2, 7, 3, 4))
    assert beyond.shape == (1, 2, 8, 3, 4)
    torch.testing.assert_close(beyond[:, :, 0], torch.ones(1, 2, 3, 4))
    torch.testing.assert_close(beyond[:, :, -1], torch.zeros(1, 2, 3, 4))
    assert (beyond.diff(dim=2) <= 0).all()
    assert EVIDENCE == 3
