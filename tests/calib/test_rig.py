from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from calib.errors import InputError
from calib.rig import Intrinsics, Rig
from calib.rig_check import blind_degrees, overlaps, validate
from calib.rig_file import load_rig, save_rig
from calib.rig_import import CameraInfo, intrinsics_from_camera_info
from genie.data.synth.sensors import RIG


def test_a_rig_comes_back_from_its_file_to_the_last_bit(rig: Rig, tmp_path: Path) -> None:
    save_rig(tmp_path / "rig.yaml", rig)
    again = load_rig(tmp_path / "rig.yaml")
    assert again.sha256 == rig.sha256
    for mine, theirs in zip(rig.sensors, again.sensors, strict=True):
        assert mine.name == theirs.name
        np.testing.assert_array_equal(mine.mount.ego_from_sensor, theirs.mount.ego_from_sensor)
    for mount in RIG:
        sensor = {s.name: s for s in again.sensors}[mount.channel]
        np.testing.assert_allclose(sensor.mount.ego_from_sensor, mount.ego_from_sensor, atol=1e-12)


def test_the_hash_is_of_the_values_not_of_the_layout(rig: Rig, tmp_path: Path) -> None:
    save_rig(tmp_path / "rig.yaml", rig)
    tree = yaml.safe_load((tmp_path / "rig.yaml").read_text())
    tree["cameras"] = dict(reversed(tree["cameras"].items()))
    other = tmp_path / "other.yaml"
    other.write_text("# by hand\n" + yaml.safe_dump(tree, sort_keys=True, default_flow_style=False))
    assert load_rig(other).sha256 == rig.sha256
    moved = rig.camera("CAM_FRONT").mount.ego_from_sensor.copy()
    moved[0, 3] += 1e-9
    assert rig.with_mount("CAM_FRONT", moved).sha256 != rig.sha256


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("focal", [1266.4], "cameras.CAM_FRONT.focal"),
        ("model", "omni", "one of pinhole, fisheye"),
        ("distortion", [0.1, 0.2, 0.3], "0 or 4 or 5 or 8 numbers"),
        ("frequency_hz", True, "cameras.CAM_FRONT.frequency_hz"),
        ("frequncy_hz", 12.0, "cameras.CAM_FRONT.frequncy_hz: found an unknown key"),
        ("centre", [5000.0, 450.0], "inside the image"),
        ("size", [1600.5, 900], "whole numbers"),
    ],
)
def test_errors_name_the_file_the_key_and_what_was_expected(
    rig: Rig, tmp_path: Path, key: str, value: object, said: str
) -> None:
    tree = {"schema": 1, **rig.as_tree()}
    tree["cameras"]["CAM_FRONT"][key] = value
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError) as error:
        load_rig(tmp_path / "rig.yaml")
    assert said in str(error.value) and "rig.yaml" in str(error.value)


def test_a_rig_that_cannot_be_is_refused(rig: Rig) -> None:
    pose = rig.camera("CAM_FRONT").mount.ego_from_sensor
    mirrored, scaled, far = pose.copy(), pose.copy(), pose.copy()
    mirrored[:3, 0] *= -1
    scaled[:3, :3] *= 1.01
    far[0, 3] = 1701.0
    for wrong, said in ((mirrored, "reflection"), (scaled, "orthonormal"), (far, "in mm")):
        with pytest.raises(InputError, match=said):
            validate(rig.with_mount("CAM_FRONT", wrong))
    front, left = rig.camera("CAM_FRONT"), rig.camera("CAM_FRONT_LEFT")
    with pytest.raises(InputError, match="was it copied"):
        validate(replace(rig, cameras=(front, replace(left, mount=front.mount))))
    with pytest.raises(InputError, match="2 sensors of this name"):
        validate(replace(rig, cameras=(front, replace(left, name="CAM_FRONT"))))


def test_the_six_cameras_see_all_around_and_neighbours_overlap(rig: Rig) -> None:
    pairs = {frozenset((o.first, o.second)): o.degrees for o in overlaps(rig)}
    assert blind_degrees(rig) == 0.0
    # The views' widths, from focal length and centre alone, are 360 degrees and what is seen twice.
    width = sum(
        np.degrees(np.arctan(c.intrinsics.centre[0] / f) + np.arctan((1600 - c.intrinsics.centre[0]) / f))
        for c in rig.cameras
        for f in [c.intrinsics.focal[0]]
    )
    assert sum(pairs.values()) == pytest.approx(width - 360, abs=4.0)
    assert frozenset(("CAM_FRONT", "CAM_FRONT_LEFT")) in pairs and frozenset(("CAM_FRONT", "CAM_BACK")) not in pairs
    assert blind_degrees(replace(rig, cameras=rig.cameras[:1])) == pytest.approx(295.5, abs=1.5)


def test_camera_info_of_both_generations_of_ros() -> None:
    k = [900.0, 0, 640.0, 0, 905.0, 360.0, 0, 0, 1]
    info = CameraInfo(1280, 720, "plumb_bob", k, [-0.3, 0.1, 0.001, 0.0, 0.0])
    found = intrinsics_from_camera_info(info)
    assert found == Intrinsics("pinhole", (1280, 720), (900.0, 905.0), (640.0, 360.0), (-0.3, 0.1, 0.001, 0.0, 0.0))
    binned = intrinsics_from_camera_info(replace(info, binning_x=2, binning_y=2))
    assert binned.size == (640, 360) and binned.focal == (450.0, 452.5) and binned.centre == (319.75, 179.75)
    assert intrinsics_from_camera_info(replace(info, distortion_model="equidistant", d=[0.1] * 4)).model == "fisheye"
    for wrong, said in (
        (replace(info, distortion_model="thin_prism"), "thin_prism"),
        (replace(info, k=[0.0] * 9), "calibr"),
    ):
        with pytest.raises(InputError, match=said):
            intrinsics_from_camera_info(wrong)
