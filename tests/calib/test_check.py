"""The check on the real keyframe of scene-0061: with its own calibration, and with another car's (in the tables)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from calib.check import CameraReport, check_scene
from calib.edges import lidar_edges
from calib.errors import CheckFailed, InputError
from calib.overlay import draw_points
from calib.rig import Rig
from calib.tables import Keyframe, Tables, read_image, read_sweep
from calib.transforms import inverse
from genie.cli.main import app

SCENE = "scene-0061"
LOOKED_AT = ("CAM_FRONT", "CAM_BACK")


def own_calibration(root: Path) -> tuple[Rig, Keyframe]:
    """The keyframe with the matrices that belong to it, ego motion between lidar and images included."""
    data = Tables(root).scene(SCENE)
    own = json.loads((root / "samples/scene-0061-keyframe-0.json").read_text())
    ego_from_lidar = np.array(own["lidar2ego"])
    rig, measured = data.rig.with_mount("LIDAR_TOP", ego_from_lidar), []
    for camera in rig.cameras:
        told = {key: np.array(value) for key, value in own["cameras"][camera.name].items()}
        rig = rig.with_mount(camera.name, told["cam2ego"])
        image = next(m for m in data.keyframes[0].cameras if m.channel == camera.name)
        motion = told["cam2ego"] @ told["lidar2cam"] @ inverse(ego_from_lidar)
        measured.append(replace(image, world_from_ego=inverse(motion)))
    cameras = []
    for camera in rig.cameras:
        k = np.array(own["cameras"][camera.name]["cam2img"])
        intrinsics = replace(camera.intrinsics, focal=(k[0, 0], k[1, 1]), centre=(k[0, 2], k[1, 2]))
        cameras.append(replace(camera, intrinsics=intrinsics))
    frame = data.keyframes[0]
    return replace(rig, cameras=tuple(cameras)), replace(
        frame,
        lidar=replace(frame.lidar, world_from_ego=np.eye(4)),
        cameras=tuple(m for m in measured if m.channel in LOOKED_AT),
    )


@pytest.fixture(scope="module")
def reports(mini_root: Path) -> dict[str, CameraReport]:
    rig, frame = own_calibration(mini_root)
    return {r.camera: r for r in check_scene(rig, [frame])}


@pytest.mark.mini
def test_the_real_frame_agrees_with_its_own_calibration(reports: dict[str, CameraReport]) -> None:
    assert set(reports) == set(LOOKED_AT)
    for report in reports.values():
        assert report.verdict == "good", report.reason
        assert max(map(abs, report.best_deg)) <= 0.5
        assert 0.08 < report.hits < 0.25
        yaw = report.turned[1]  # about the camera's y axis
        assert report.score > max(yaw)


@pytest.mark.mini
def test_turned_by_two_degrees_it_is_bad_and_says_which_way(mini_root: Path) -> None:
    rig, frame = own_calibration(mini_root)
    front = rig.camera("CAM_FRONT").mount.ego_from_sensor
    turn = np.eye(4)
    turn[:3, :3] = cv2.Rodrigues(np.array([0.0, np.radians(2.0), 0.0]))[0]
    images = tuple(m for m in frame.cameras if m.channel == "CAM_FRONT")
    (report,) = check_scene(rig.with_mount("CAM_FRONT", front @ turn), [replace(frame, cameras=images)])
    assert report.verdict == "bad"
    assert report.best_deg[1] == pytest.approx(2.0, abs=0.5)  # turned back


@pytest.mark.mini
def test_the_command_finds_that_the_tables_hold_another_cars_calibration(mini_root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="CAM_FRONT"):
        CliRunner().invoke(
            app, ["calib", "check", str(mini_root), "--scene", SCENE, "--out", str(tmp_path)], catch_exceptions=False
        )
    drawn, original = cv2.imread(str(tmp_path / "CAM_FRONT.png")), (900, 1600, 3)
    assert drawn.shape == original
    with pytest.raises(InputError, match="none has its sweep"):
        Tables(mini_root).scene("scene-0553")


@pytest.mark.mini
def test_the_overlay_puts_points_where_opencv_projects_them(mini_root: Path) -> None:
    rig, frame = own_calibration(mini_root)
    own = json.loads((mini_root / "samples/scene-0061-keyframe-0.json").read_text())["cameras"]["CAM_FRONT"]
    image = read_image(frame.cameras[-1].path)
    points = read_sweep(frame.lidar.path)[:, :3].astype(np.float64)
    pose, intrinsics = np.array(own["lidar2cam"]), rig.camera("CAM_FRONT").intrinsics
    drawn = draw_points(image, points, pose, intrinsics)
    local = points @ pose[:3, :3].T + pose[:3, 3]
    ahead = local[local[:, 2] > 1]
    u, v = (np.array(own["cam2img"]) @ ahead.T)[:2] / ahead[:, 2]
    seen = (u > 5) & (u < 1594) & (v > 5) & (v < 894)
    changed = (drawn != image).any(-1)
    assert changed[np.round(v[seen]).astype(int), np.round(u[seen]).astype(int)].mean() > 0.98
    assert changed.mean() < 0.12  # and nothing else is


@pytest.mark.mini
def test_ends_are_of_things_not_of_the_road(mini_root: Path) -> None:
    rig, frame = own_calibration(mini_root)
    ego_from_lidar = rig.lidar("LIDAR_TOP").mount.ego_from_sensor
    edges = lidar_edges(read_sweep(frame.lidar.path), ego_from_lidar)
    height = edges.on @ ego_from_lidar[2, :3] + ego_from_lidar[2, 3]
    assert len(edges.on) > 2000 and height.min() > 0.4
    np.testing.assert_allclose(np.linalg.norm(edges.on, axis=1), np.linalg.norm(edges.off, axis=1), rtol=1e-9)
