"""The scene in a mirror: what the mirrored cameras show is where the mirrored labels have it."""

from __future__ import annotations

import numpy as np
import torch

from calib.camera import project
from calib.rig import Rig
from calib.transforms import apply
from perception.batches import Batch
from perception.config import CAMERAS, ModelConfig
from perception.lift import LiftIndex, lift
from perception.losses import Truth
from perception.mirror import mirror, mirror_rig, other_side
from perception.model import Inputs
from perception.prepare import STRIDE, plan_rig

CONFIG = ModelConfig()


def test_a_point_is_in_the_mirrored_image_where_its_mirror_image_is(nuscenes_rig: Rig) -> None:
    rig = nuscenes_rig
    mirrored, rng = mirror_rig(rig), np.random.default_rng(0)
    points = rng.uniform([-30, -30, -1], [30, 30, 4], (400, 3))
    for camera in rig.cameras:
        other = mirrored.camera(other_side(camera.name))
        a = project(camera.intrinsics, apply(camera.mount.sensor_from_ego, points))
        b = project(other.intrinsics, apply(other.mount.sensor_from_ego, points * (1, -1, 1)))
        np.testing.assert_array_equal(a.valid, b.valid)
        np.testing.assert_allclose(b.pixels[a.valid], [1599, 0] + a.pixels[a.valid] * (-1, 1), atol=1e-6)
    assert {c.name for c in mirrored.cameras} == set(CAMERAS)


def test_lifting_the_mirrored_images_is_the_mirrored_lift(nuscenes_rig: Rig) -> None:
    rigs = (nuscenes_rig, mirror_rig(nuscenes_rig))
    plain, turned = (LiftIndex.of(plan_rig(r, CONFIG).table) for r in rigs)
    high, wide = CONFIG.image_height // STRIDE, CONFIG.image_width // STRIDE
    torch.manual_seed(0)
    images = torch.randn(1, 6, 3, high, wide)  # as if features were pixels
    labels = torch.arange(2 * 200).reshape(1, 1, 2, 200)
    depth = torch.randint(0, 9, (1, 6, high, wide))
    batch = Batch(Inputs(None, images, torch.ones(1, 6), plain), Truth(labels, labels > 3, depth))
    out = mirror(batch, turned)
    assert out.inputs.images is not None and out.inputs.lifting is turned and out.truth.depth is not None
    np.testing.assert_array_equal(out.truth.semantics, labels.flip(-1))
    flat = torch.zeros(1, 6, CONFIG.depth_bins, high, wide)
    one = lift(images, flat, torch.ones(1, 6), plain).lit.unflatten(2, (100, 100, 8))
    two = lift(out.inputs.images, flat, torch.ones(1, 6), turned).lit.unflatten(2, (100, 100, 8))
    # Cells at the border of two may round to the other one.
    same = (one - two.flip(3)).abs().amax((0, 1)) < 1e-4
    assert same.float().mean() > 0.99
    left, right = (CAMERAS.index(f"CAM_BACK_{side}") for side in ("LEFT", "RIGHT"))
    assert torch.equal(out.truth.depth[0, left], depth[0, right].flip(-1))
