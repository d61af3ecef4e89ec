"""A synthetic scene with all its sensors, read with nuscenes-devkit as a user would read nuScenes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from genie.data.synth.names import VERSION, SceneNames
from genie.data.synth.sensors import CAMERAS, LIDAR, LIDARSEG
from genie.data.synth.world import scene_world

CONFIG = SynthConfig(scenes=2, seconds=1.0, seed=7, lidar=True, cameras=True, image_scale=0.1)


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("sensors") / "data"
    generate(out, CONFIG)
    return out


@pytest.fixture(scope="session")
def nusc(root):
    import matplotlib as mpl

    mpl.use("Agg")
    from nuscenes.nuscenes import NuScenes

    return NuScenes(VERSION, str(root), verbose=False)


def rows_of(nusc, channel):
    """sample_data of the first scene's channel, in time order, along `next`."""
    sample = nusc.get("sample", nusc.scene[0]["first_sample_token"])
    row = nusc.get("sample_data", sample["data"][channel])
    while row["prev"]:
        row = nusc.get("sample_data", row["prev"])
    rows = [row]
    while row["next"]:
        row = nusc.get("sample_data", row["next"])
        assert row["prev"] == rows[-1]["token"]
        rows.append(row)
    return rows


@pytest.mark.parametrize("channel", [LIDAR, *(m.channel for m in CAMERAS)])
def test_sweeps_and_keyframes_make_one_chain(root, nusc, channel):
    rows = rows_of(nusc, channel)
    rate = 20 if channel == LIDAR else 12
    stamps = np.array([r["timestamp"] for r in rows])
    assert len(rows) == round(CONFIG.seconds * rate) + 1
    assert np.abs(np.diff(stamps) - 1e6 / rate).max() <= 1
    for row in rows:
        assert row["filename"].startswith(("samples/" if row["is_key_frame"] else "sweeps/") + channel)
        assert (root / row["filename"]).is_file()
        pose = nusc.get("ego_pose", row["ego_pose_token"])
        assert pose["timestamp"] == row["timestamp"] and pose["translation"][2] == 0.0
    samples = [s for s in nusc.sample if s["scene_token"] == nusc.scene[0]["token"]]
    for sample in samples:
        nearest = rows[int(np.abs(stamps - sample["timestamp"]).argmin())]
        assert nearest["token"] == sample["data"][channel] and nearest["is_key_frame"]
    assert sum(r["is_key_frame"] for r in rows) == len(samples)
    # A sweep belongs to the sample that follows it.
    for row in rows:
        ahead = nusc.get("sample", row["sample_token"])["timestamp"] - row["timestamp"]
        assert row["is_key_frame"] or 0 <= ahead < 500_000


def test_each_camera_has_its_own_phase(nusc):
    sample = nusc.sample[1]
    stamps = {nusc.get("sample_data", t)["timestamp"] for t in sample["data"].values()}
    assert len(stamps) == 7 and max(stamps) == sample["timestamp"]
    assert max(stamps) - min(stamps) < 42_000


def test_images_have_the_size_of_their_rows_and_show_something(root, nusc):
    for row in (r for r in nusc.sample_data if r["fileformat"] == "jpg" and r["is_key_frame"]):
        image = cv2.imread(str(root / row["filename"]))
        assert image.shape == (row["height"], row["width"], 3) == (90, 160, 3)
        assert image.std() > 10


def test_the_devkit_renders_a_sample(nusc, tmp_path):
    nusc.render_sample(nusc.sample[1]["token"], out_path=str(tmp_path / "sample.png"), verbose=False)
    assert cv2.imread(str(tmp_path / "sample.png")).std() > 10


def test_boxes_between_keyframes_and_velocities(nusc):
    lidar = rows_of(nusc, LIDAR)
    between = lidar[5]
    assert not between["is_key_frame"]
    boxes = nusc.get_boxes(between["token"])
    assert len(boxes) > 10
    world = scene_world(CONFIG, 0)
    centres = world.boxes(0.25).centre
    off = [np.linalg.norm(centres - b.center, axis=1).min() for b in boxes]
    # One that is not annotated before the sweep stays, in the devkit, where it is after it.
    assert np.median(off) < 0.02 and np.quantile(off, 0.9) < 0.1
    for annotation in nusc.sample_annotation:
        speed = np.linalg.norm(nusc.box_velocity(annotation["token"]))
        assert not np.isfinite(speed) or speed < 25


def test_points_in_boxes_agree_with_the_tables(nusc):
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    counted, visible = [], []
    for sample in nusc.sample:
        path, boxes, _ = nusc.get_sample_data(sample["data"][LIDAR])
        points = LidarPointCloud.from_file(path).points[:3]
        for box in boxes:
            row = nusc.get("sample_annotation", box.token)
            assert abs(points_in_box(box, points).sum() - row["num_lidar_pts"]) <= 1  # a point on a side
            counted.append(row["num_lidar_pts"])
            visible.append(row["visibility_token"])
    counted, visible = np.array(counted), np.array(visible)
    assert (counted > 0).sum() > 100
    # What the cameras see in full the lidar sees, too; of what is hidden it has little.
    assert (counted[visible == "4"] > 0).mean() > 0.8 > (counted[visible == "1"] > 0).mean()
    assert len(set(visible)) == 4


def test_multisweep_puts_what_stands_in_one_place(nusc):
    """Ten sweeps moved by the poses of the tables: parked cars fill their boxes, and do not smear."""
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    inside, around = np.zeros(2), np.zeros(2)
    for scene in nusc.scene:
        sample = nusc.get("sample", scene["last_sample_token"])
        _, boxes, _ = nusc.get_sample_data(sample["data"][LIDAR])
        for i, sweeps in enumerate((1, 10)):
            cloud, times = LidarPointCloud.from_file_multisweep(nusc, sample, LIDAR, LIDAR, nsweeps=sweeps)
            assert len(np.unique(times.round(3))) == sweeps
            for box in boxes:
                row = nusc.get("sample_annotation", box.token)
                if "vehicle.parked" in [nusc.get("attribute", a)["name"] for a in row["attribute_tokens"]]:
                    inside[i] += points_in_box(box, cloud.points[:3]).sum()
                    around[i] += points_in_box(box, cloud.points[:3], wlh_factor=1.25).sum()
    assert inside[1] > 6 * inside[0] > 300
    assert inside[1] / around[1] > inside[0] / around[0] - 0.05


def test_lidarseg_and_panoptic_statistics(root, nusc, capsys):
    sample = nusc.sample[0]
    nusc.get_sample_lidarseg_stats(sample["token"])
    nusc.get_sample_lidarseg_stats(sample["token"], gt_from="panoptic")
    nusc.list_lidarseg_categories()
    nusc.list_lidarseg_categories(gt_from="panoptic")
    nusc.list_panoptic_instances()
    printed = capsys.readouterr().out
    assert printed.count("flat.driveable_surface") == 4
    assert {c["name"]: c["index"] for c in nusc.category} == {name: i for i, name in enumerate(LIDARSEG)}
    assert len(nusc.lidarseg) == len(nusc.panoptic) == len(nusc.sample)
    for row in nusc.lidarseg:
        data = nusc.get("sample_data", row["sample_data_token"])
        points = np.fromfile(root / data["filename"], "<f4").reshape(-1, 5)
        labels = np.fromfile(root / row["filename"], np.uint8)
        with np.load(root / nusc.get("panoptic", row["token"])["filename"]) as archive:
            panoptic = archive["data"]
        assert len(points) == len(labels) and (panoptic // 1000 == labels).all()
        heard = np.linalg.norm(points[:, :3], axis=1) > 1.0
        road = heard & (labels == LIDARSEG.index("flat.driveable_surface"))
        assert road.sum() > 1000
        assert np.median(points[road, 2]) == pytest.approx(-1.84, abs=0.25)


def test_points_lie_in_the_box_of_their_instance(nusc, root):
    """Labels, boxes and poses are of one world. What drives is smeared by the revolution, as it is in nuScenes."""
    from nuscenes.utils.geometry_utils import points_in_box

    inside = total = 0
    for sample in (s for s in nusc.sample if s["scene_token"] == nusc.scene[0]["token"]):
        points, number = points_of(nusc, root, sample)
        for box in nusc.get_boxes(sample["data"][LIDAR]):
            mine = points[:3, number == instance_of(nusc, box.token) % 999 + 1]
            if np.linalg.norm(nusc.box_velocity(box.token)) < 1.0:
                inside += points_in_box(box, mine, wlh_factor=1.1).sum()
                total += mine.shape[1]
    assert total > 300
    assert inside / total > 0.95


def test_points_project_onto_their_object(root, nusc):
    """Points of the lidar that were labelled as an instance land in the hull of its box in the image, and on its
    pixels: lidar, poses, calibration and images are of one world."""
    from nuscenes.utils.geometry_utils import view_points

    from genie.data.synth.render import Renderer

    renderer = Renderer(scene_world(CONFIG, 0))
    in_hull = on_object = total = 0
    for sample in (s for s in nusc.sample if s["scene_token"] == nusc.scene[0]["token"]):
        points, number = points_of(nusc, root, sample)
        for mount in CAMERAS:
            data = nusc.get("sample_data", sample["data"][mount.channel])
            _, boxes, intrinsic = nusc.get_sample_data(data["token"])
            t = (data["timestamp"] - 1_600_000_000_000_000) * 1e-6
            shown = renderer.instances(mount, t, CONFIG.image_scale)
            in_camera = sensor_from_world(nusc, data) @ points
            for box in boxes:
                instance = instance_of(nusc, box.token)
                mine = in_camera[:3, (number == instance % 999 + 1) & (in_camera[2] > 1.0)]
                if box.corners()[2].min() < 1.0 or not mine.size:
                    continue
                hull = cv2.convexHull(view_points(box.corners(), intrinsic, normalize=True)[:2].T.astype(np.float32))
                for u, v in view_points(mine, intrinsic, normalize=True)[:2].T:
                    i, j = round(v), round(u)
                    if not (1 <= i < shown.shape[0] - 1 and 1 <= j < shown.shape[1] - 1):
                        continue
                    total += 1
                    in_hull += cv2.pointPolygonTest(hull, (float(u), float(v)), True) > -1.0
                    on_object += (shown[i - 1 : i + 2, j - 1 : j + 2] == instance).any()
    assert total > 500
    assert in_hull / total >= 0.95
    assert on_object / total >= 0.9


def points_of(nusc, root, sample):
    """The world's homogeneous coordinates [4, n] of a sample's lidar points, and their instance number, 0: none."""
    lidar = nusc.get("sample_data", sample["data"][LIDAR])
    local = np.fromfile(root / lidar["filename"], "<f4").reshape(-1, 5)[:, :3].astype(np.float64)
    with np.load(root / nusc.get("panoptic", lidar["token"])["filename"]) as archive:
        number = archive["data"] % 1000
    return np.linalg.inv(sensor_from_world(nusc, lidar)) @ np.vstack([local.T, np.ones(len(local))]), number


def sensor_from_world(nusc, data):
    from nuscenes.utils.geometry_utils import transform_matrix
    from pyquaternion import Quaternion

    pose = nusc.get("ego_pose", data["ego_pose_token"])
    mount = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    world_from_ego = transform_matrix(pose["translation"], Quaternion(pose["rotation"]))
    ego_from_sensor = transform_matrix(mount["translation"], Quaternion(mount["rotation"]))
    return np.linalg.inv(world_from_ego @ ego_from_sensor)


def instance_of(nusc, annotation_token):
    """The index in the first scene's world of an annotation's instance."""
    return _instances()[nusc.get("sample_annotation", annotation_token)["instance_token"]]


@cache
def _instances() -> dict[str, int]:
    names = SceneNames(CONFIG.seed, 0)
    return {names.token("instance", i): i for i in range(len(scene_world(CONFIG, 0).kind))}


def digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_killed_run_is_finished_with_equal_bytes(root, tmp_path):
    """Killed in the middle of a scene, with two processes; what is left names no half scene."""
    out = tmp_path / "data"
    command = [sys.executable, "-m", "genie.cli.main", "data", "synth", str(out), "--jobs", "2", "--lidar", "--cameras"]
    command += ["--scenes", "2", "--seconds", str(CONFIG.seconds), "--seed", str(CONFIG.seed)]
    command += ["--image-scale", str(CONFIG.image_scale)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not any(out.glob(".scene-*.tmp/files/sweeps/LIDAR_TOP/*")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert not (out / VERSION).exists()
    assert not any(out.glob("samples/*/*")) and not any(out.glob("gts/*"))
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digest(out) == digest(root)
