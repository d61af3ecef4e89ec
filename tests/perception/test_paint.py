"""What images show of struck voxels: the gather against a loop, and the table against the cameras themselves."""

from __future__ import annotations

import numpy as np
import torch

from calib.camera import project
from calib.rig import Rig
from calib.transforms import apply
from perception.config import CAMERAS, ModelConfig
from perception.paint import gather_struck, gather_struck_plain
from perception.prepare import PAINT_STRIDE, plan_rig
from perception.types import GRID

CONFIG = ModelConfig()
HIGH, WIDE = CONFIG.image_height // PAINT_STRIDE, CONFIG.image_width // PAINT_STRIDE


def test_equals_the_loop(nuscenes_rig: Rig) -> None:
    generator = torch.Generator().manual_seed(0)
    paint = plan_rig(nuscenes_rig, CONFIG).table.paint
    assert paint is not None
    pixels = torch.randn(2, 6, 3, HIGH, WIDE, generator=generator)
    present = torch.tensor([[1.0] * 6, [1.0, 0.0, 1.0, 1.0, 1.0, 0.0]])
    struck = (torch.rand(2, 16, 200, 200, generator=generator) < 0.01).float()
    shown = gather_struck(pixels, present, torch.from_numpy(paint), struck)
    for frame in range(2):
        plain = gather_struck_plain(*(t[frame].numpy() for t in (pixels, present)), paint, struck[frame].numpy())
        np.testing.assert_allclose(shown[frame].unflatten(0, (3, 16)).numpy(), plain, atol=1e-6)
        assert (plain != 0).sum() > 1000


def test_each_voxel_looks_at_the_cell_that_shows_its_centre_nearest_to_the_middle_of_an_image(
    nuscenes_rig: Rig,
) -> None:
    plan = plan_rig(nuscenes_rig, CONFIG)
    paint, shape = plan.table.paint, (GRID.shape[2], *GRID.shape[:2])
    assert paint is not None and paint.shape == (np.prod(shape),)
    nowhere = 0
    for voxel in range(0, len(paint), 1013):
        z, x, y = np.unravel_index(voxel, shape)
        centre = GRID.centers()[x, y, z]
        sights = {}
        for number, (camera, how) in enumerate(zip(plan.cameras, plan.plans, strict=True)):
            assert camera is not None and how is not None
            local = apply(camera.mount.sensor_from_ego, centre[None])
            found = project(how.intrinsics, local)
            if found.inside[0] and local[0, 2] > CONFIG.nearest:
                column, row = np.floor((found.pixels[0] + 0.5) / PAINT_STRIDE).astype(int)
                off = abs(found.pixels[0, 0] - CONFIG.image_width / 2)
                sights[off] = (number * HIGH + row) * WIDE + column
        nowhere += not sights
        assert paint[voxel] == (sights[min(sights)] if sights else len(CAMERAS) * HIGH * WIDE)
    assert 50 < nowhere < 500


def test_without_lidar_there_is_nothing_to_paint(nuscenes_rig: Rig) -> None:
    assert plan_rig(nuscenes_rig, ModelConfig(lidar=False)).table.paint is None
