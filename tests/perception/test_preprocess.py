"""Preprocessing: pixels and intrinsics stay together, and what is not the scene is removed."""

from __future__ import annotations

import numpy as np
import pytest

from calib.camera import project
from calib.errors import InputError
from calib.rig import Intrinsics
from perception.preprocess import DEVIATION, MEAN, clean_returns, normalise, plan_images, resize_image

NATIVE = Intrinsics("pinhole", (1600, 900), (1266.4, 1266.4), (816.3, 491.5))


def test_a_point_is_seen_where_the_carried_intrinsics_say() -> None:
    plan = plan_images(NATIVE, 352, 128)
    for point in ([[1.0, 0.5, 10.0]], [[-6.0, 1.5, 14.0]], [[4.0, -0.6, 9.0]]):
        u, v = np.round(project(NATIVE, np.array(point)).pixels[0]).astype(int)
        image = np.zeros((900, 1600, 3), np.uint8)
        image[v - 6 : v + 7, u - 6 : u + 7] = 255
        out = resize_image(image, plan)[..., 0].astype(float)
        assert out.shape == (128, 352)
        rows, columns = np.mgrid[:128, :352]
        found = np.array([(out * columns).sum(), (out * rows).sum()]) / out.sum()
        # The blot is centred on a whole native pixel: half a pixel of that is 0.11 px here.
        assert np.abs(found - project(plan.intrinsics, np.array(point)).pixels[0]).max() < 0.15


def test_images_of_another_size_or_too_flat_are_refused() -> None:
    plan = plan_images(NATIVE, 352, 128)
    with pytest.raises(InputError, match="1600"):
        resize_image(np.zeros((450, 800, 3), np.uint8), plan)
    with pytest.raises(InputError, match="at least 256 rows"):
        plan_images(NATIVE, 352, 256)


def test_normalises_bgr_as_torchvisions_weights_expect_rgb() -> None:
    image = np.zeros((2, 4, 6, 3), np.uint8)
    image[..., 2] = 255  # red
    out = normalise(image)
    assert out.shape == (2, 3, 4, 6) and out.dtype == np.float32
    np.testing.assert_allclose(out[0, :, 0, 0], (np.array([1.0, 0.0, 0.0]) - MEAN) / DEVIATION, rtol=1e-5)


def test_the_ego_vehicle_and_beams_without_echo_are_no_returns() -> None:
    ego_from_sensor = np.eye(4)
    ego_from_sensor[:3, 3] = 0.9, 0.0, 1.8
    points = np.array(
        [
            [0.0, 0.0, 0.0, 9, 0],  # no echo: the sensor's own place
            [1.5, 0.5, -0.8, 9, 0],  # bonnet
            [1.5, 1.5, -1.7, 7, 0],  # road beside the car
            [99.9, 9.0, 0.0, 9, 0],  # beyond 100 m
            [np.nan, 0.0, 0.0, 9, 0],
        ],
        np.float32,
    )
    returns = clean_returns(points, ego_from_sensor)
    np.testing.assert_array_equal(returns.rows, [2])
    np.testing.assert_allclose(returns.points, [[2.4, 1.5, 0.1]], atol=1e-6)
    assert returns.intensity[0] == 7
