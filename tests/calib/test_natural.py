"""A camera's place against the lidar from six seconds of driving through the town."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.agreement import perturbed
from calib.errors import InputError
from calib.natural import calibrate_natural, read_frames
from calib.tables import Tables
from calib.transforms import inverse


def test_a_turned_camera_is_turned_back(drive: Path) -> None:
    tables = Tables(drive)
    scene = tables.scene(tables.scene_names[0])
    camera = scene.rig.camera("CAM_FRONT")
    frames = read_frames(scene.keyframes, camera.name, scene.rig.lidar("LIDAR_TOP").mount.ego_from_sensor)
    off = np.array([*np.radians((0.5, -0.8, 0.0)), 0.0, 0.0, 0.0])
    found = calibrate_natural(frames, camera.intrinsics, perturbed(off) @ camera.mount.sensor_from_ego)
    error = found.pose @ camera.mount.ego_from_sensor
    turned = np.degrees(np.asarray(cv2.Rodrigues(error[:3, :3])[0]).ravel())
    assert np.abs(turned[:2]).max() < 0.4  # thirteen small images: far from a board's exactness
    assert np.abs(error[:3, 3]).max() < 0.05
    assert (np.abs(turned) < 3 * found.sigma_deg).all()
    assert np.allclose(found.pose[:3, :3] @ found.pose[:3, :3].T, np.eye(3))
    with pytest.raises(InputError, match="3 images"):
        calibrate_natural(frames[:3], camera.intrinsics, camera.mount.sensor_from_ego)
    assert inverse(found.pose)[2, 3] > 1.0  # still on the car
