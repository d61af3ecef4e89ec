from __future__ import annotations

import cv2
import numpy as np
import pytest

from calib.camera import project, undistort_maps, unproject
from calib.rig import Intrinsics

CAMERAS = {
    "rectified": Intrinsics("pinhole", (1600, 900), (1266.4, 1266.4), (816.3, 491.5)),
    "plumb-bob": Intrinsics("pinhole", (1600, 900), (900.0, 910.0), (816.0, 451.0), (-0.32, 0.12, 0.001, -7e-4, -0.02)),
    "rational": Intrinsics(
        "pinhole", (1600, 900), (900.0, 910.0), (816.0, 451.0), (0.3, 0.1, 0.001, -7e-4, 0.02, 0.5, 0.15, 0.03)
    ),
    "fisheye": Intrinsics("fisheye", (1280, 960), (420.0, 421.0), (640.0, 480.0), (0.05, -0.01, 0.003, -0.001)),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_pixels_come_back_through_their_rays(name: str) -> None:
    camera = CAMERAS[name]
    pixels = np.random.default_rng(0).uniform([-0.5, -0.5], np.array(camera.size) - 0.5, (3000, 2))
    rays = unproject(camera, pixels)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1.0)
    seen = project(camera, rays * 12.0)
    ahead = rays[:, 2] > 0.05
    assert ahead.mean() > 0.9 and (seen.valid[ahead & (rays[:, 2] * 12 > 0.06)]).all()
    np.testing.assert_allclose(seen.pixels[seen.valid], pixels[seen.valid], atol=1e-4)
    assert seen.inside[seen.valid].all()


def test_the_models_are_those_of_their_papers() -> None:
    """Written out here: Brown's polynomial, and the equidistant angle."""
    point = np.array([[1.0, -0.6, 2.0]])
    camera = CAMERAS["plumb-bob"]
    (k1, k2, p1, p2, k3), (x, y) = camera.distortion, (0.5, -0.3)
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    bent = (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y)
    np.testing.assert_allclose(project(camera, point).pixels[0], np.array(bent) * camera.focal + camera.centre)
    fish = CAMERAS["fisheye"]
    angle = np.arctan(np.sqrt(r2))
    bent_angle = angle * (1 + sum(k * angle ** (2 * n + 2) for n, k in enumerate(fish.distortion)))
    expected = np.array([x, y]) / np.sqrt(r2) * bent_angle * fish.focal + fish.centre
    np.testing.assert_allclose(project(fish, point).pixels[0], expected)


def test_points_behind_and_rays_where_the_polynomial_folds_are_not_valid() -> None:
    camera = CAMERAS["plumb-bob"]
    seen = project(camera, np.array([[0.1, 0.1, 5.0], [0.1, 0.1, -5.0], [0.0, 0.0, 0.0], [12.0, 0.0, 5.0]]))
    assert seen.valid.tolist() == [True, False, False, False]
    assert np.isnan(seen.pixels[1:]).all() and not seen.inside[1:].any()
    # OpenCV alone would put the last one, 67 degrees off the axis, somewhere: its polynomial has turned back.
    folded = cv2.projectPoints(
        np.array([[[12.0, 0.0, 5.0]]]), np.zeros(3), np.zeros(3), camera.matrix, camera.coefficients
    )
    assert np.isfinite(folded[0]).all()


@pytest.mark.parametrize("name", ["plumb-bob", "fisheye"])
def test_undistorted_images_show_straight_lines_straight(name: str) -> None:
    camera = CAMERAS[name]
    maps = undistort_maps(camera)
    # The map says where each rectified pixel is taken from: it must be where its ray falls in the bent image.
    pixels = np.array([[300, 200], [900, 500], [1100, 700]])
    taken = np.column_stack([maps.x[pixels[:, 1], pixels[:, 0]], maps.y[pixels[:, 1], pixels[:, 0]]])
    rays = unproject(maps.rectified, pixels.astype(float))
    np.testing.assert_allclose(taken, project(camera, rays).pixels, atol=0.02)


def test_scaling_keeps_what_is_seen() -> None:
    camera = CAMERAS["plumb-bob"]
    half = camera.scaled((800, 450))
    point = np.array([[0.7, -0.2, 2.0]])
    np.testing.assert_allclose(project(half, point).pixels, (project(camera, point).pixels + 0.5) / 2 - 0.5)
