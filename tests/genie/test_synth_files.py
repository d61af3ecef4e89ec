"""The files of a synthetic nuScenes: the devkit reads them, labels and boxes agree, equal seeds give equal bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from genie.data.synth.sensors import LIDAR
from genie.data.synth.tables import VERSION
from perception.types import CLASS_NAMES, GRID

CONFIG = SynthConfig(scenes=2, seconds=3.0, seed=3)
TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample", "sample_annotation",
    "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "data"
    generate(out, CONFIG)
    return out


@pytest.fixture(scope="module")
def nusc(root):
    from nuscenes.nuscenes import NuScenes

    return NuScenes(VERSION, str(root), verbose=False)


def digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_the_devkit_reads_everything(root, nusc):
    assert sorted(p.stem for p in (root / VERSION).iterdir()) == list(TABLES)
    assert [s["name"] for s in nusc.scene] == ["scene-0001", "scene-0002"]
    assert len(nusc.sample) == 2 * CONFIG.keyframes == 14
    channels = {nusc.get("sensor", c["sensor_token"])["channel"] for c in nusc.calibrated_sensor}
    assert len(channels) == 7 and LIDAR in channels
    for sample in nusc.sample:
        _, boxes, _ = nusc.get_sample_data(sample["data"][LIDAR])
        assert len(boxes) == len(sample["anns"]) > 0
    for scene in nusc.scene:
        mask = nusc.get("map", nusc.get("log", scene["log_token"])["map_token"])["mask"]
        sample = nusc.get("sample", scene["first_sample_token"])
        pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"][LIDAR])["ego_pose_token"])
        assert mask.is_on_mask(*pose["translation"][:2])


def test_chains_lead_from_the_first_annotation_to_the_last(nusc):
    for instance in nusc.instance:
        token, count, stamps = instance["first_annotation_token"], 0, []
        while token:
            annotation = nusc.get("sample_annotation", token)
            assert annotation["instance_token"] == instance["token"] and annotation["num_lidar_pts"] > 0
            stamps.append(nusc.get("sample", annotation["sample_token"])["timestamp"])
            last, token, count = token, annotation["next"], count + 1
        assert last == instance["last_annotation_token"] and count == instance["nbr_annotations"]
        assert (np.diff(stamps) > 0).all()


def test_velocities_agree_with_the_attributes(nusc):
    """The devkit differentiates positions; the attribute was written from the simulated speed."""
    agree, moving = [], 0
    for annotation in nusc.sample_annotation:
        names = {nusc.get("attribute", a)["name"].split(".")[1] for a in annotation["attribute_tokens"]}
        speed = np.linalg.norm(nusc.box_velocity(annotation["token"])[:2])
        if not names & {"moving", "stopped", "parked", "standing"} or not np.isfinite(speed):
            continue
        moving += speed > 1.0
        assert speed < 22
        if "parked" in names:
            assert speed < 1e-6
        elif speed > 1.0 or speed < 0.05:
            agree.append(("moving" in names) == (speed > 1.0))
    assert moving > 50
    assert np.mean(agree) > 0.95


def annotated_in_ego(nusc, sample):
    """Annotated car boxes: centres in the ego frame [n, 3], sizes w, l, h [n, 3], yaws [n]."""
    from pyquaternion import Quaternion

    pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"][LIDAR])["ego_pose_token"])
    turn = Quaternion(pose["rotation"]).inverse
    rows = [nusc.get("sample_annotation", a) for a in sample["anns"]]
    rows = [r for r in rows if r["category_name"] == "vehicle.car"]
    centre = [turn.rotate(np.array(r["translation"]) - np.array(pose["translation"])) for r in rows]
    yaw = [(turn * Quaternion(r["rotation"])).yaw_pitch_roll[0] for r in rows]
    return np.array(centre).reshape(-1, 3), np.array([r["size"] for r in rows]).reshape(-1, 3), np.array(yaw)


def share_inside(semantics, boxes, margin=0.2) -> tuple[int, int]:
    """How many car voxels lie in a box, and how many there are."""
    points = GRID.centers()[semantics == CLASS_NAMES.index("car")]
    inside = np.zeros(len(points), bool)
    for centre, size, yaw in zip(*boxes, strict=True):
        relative = points - centre
        along = np.cos(yaw) * relative[:, 0] + np.sin(yaw) * relative[:, 1]
        across = np.cos(yaw) * relative[:, 1] - np.sin(yaw) * relative[:, 0]
        half_w, half_l, half_h = size / 2 + margin
        inside |= (np.abs(along) < half_l) & (np.abs(across) < half_w) & (np.abs(relative[:, 2]) < half_h)
    return int(inside.sum()), len(points)


@pytest.mark.parametrize(("flip", "least", "most"), [(False, 0.99, 1.0), (True, 0.0, 0.6)])
def test_car_voxels_lie_in_annotated_cars(root, nusc, flip, least, most):
    hits, total = 0, 0
    for scene in nusc.scene:
        for sample in (s for s in nusc.sample if s["scene_token"] == scene["token"]):
            semantics = load(root / "gts" / scene["name"] / sample["token"] / "labels.npz")["semantics"]
            got, count = share_inside(semantics[:, ::-1] if flip else semantics, annotated_in_ego(nusc, sample))
            hits, total = hits + got, total + count
    assert total > 1000
    assert least <= hits / total <= most


def test_keyframe_labels_are_frames_of_the_stream(root, nusc):
    for scene in nusc.scene:
        stream = load(root / "stream" / f"{scene['name']}.npz")
        assert stream["semantics"].dtype == np.uint8 and stream["semantics"].shape == (CONFIG.frames, *GRID.shape)
        assert (np.diff(stream["timestamp_us"]) == 100_000).all()
        row = {int(t): i for i, t in enumerate(stream["timestamp_us"])}
        for sample in (s for s in nusc.sample if s["scene_token"] == scene["token"]):
            labels = load(root / "gts" / scene["name"] / sample["token"] / "labels.npz")
            i = row[sample["timestamp"]]
            np.testing.assert_array_equal(labels["semantics"], stream["semantics"][i])
            assert labels["mask_lidar"].all() and labels["mask_camera"].all()
            pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"][LIDAR])["ego_pose_token"])
            np.testing.assert_allclose(stream["ego_xyz"][i], pose["translation"])
            half = stream["ego_yaw"][i] / 2
            assert abs(np.dot([np.cos(half), np.sin(half)], np.array(pose["rotation"])[[0, 3]])) > 1 - 1e-12


def test_equal_seeds_give_equal_bytes_in_two_processes(root, tmp_path):
    generate(tmp_path / "again", CONFIG, jobs=2)
    assert digest(tmp_path / "again") == digest(root)


def test_a_scene_does_not_depend_on_the_others_but_on_the_seed(root, tmp_path):
    generate(tmp_path / "one", replace(CONFIG, scenes=1))
    one, two = digest(tmp_path / "one"), digest(root)
    scene_files = [name for name in one if name.startswith(("gts/", "stream/", "maps/"))]
    assert len(scene_files) == CONFIG.keyframes + 2
    assert all(two[name] == one[name] for name in scene_files)
    generate(tmp_path / "other", replace(CONFIG, scenes=1, seconds=1.0, stream=False, seed=4))
    assert not (tmp_path / "other" / "stream").exists()
    assert not {h for n, h in digest(tmp_path / "other").items() if n.endswith(("npz", "png"))} & set(two.values())


def test_an_interrupted_run_is_taken_up(root, tmp_path):
    class Stop(Exception):
        pass

    def stop(name: str) -> None:
        raise Stop

    out = tmp_path / "data"
    with pytest.raises(Stop):
        generate(out, CONFIG, progress=stop)
    assert (out / "gts" / "scene-0001").is_dir() and not (out / VERSION).exists()
    (out / ".scene-0002.tmp" / "gts").mkdir(parents=True)  # what a killed process leaves behind
    generate(out, CONFIG)
    assert digest(out) == digest(root)
    generate(out, CONFIG)  # finished: nothing is touched
    assert digest(out) == digest(root)


def test_sensors_are_called_for_every_keyframe(tmp_path):
    class Counter:
        channel = LIDAR

        def write(self, world, t, path):
            path.write_text(f"{t:.1f} {len(world.boxes(t))}")

    config = replace(CONFIG, scenes=1, seconds=1.0, stream=False)
    generate(tmp_path / "data", config, sensors=(Counter(),))
    files = sorted((tmp_path / "data/samples" / LIDAR).iterdir())
    assert [f.read_text().split()[0] for f in files] == ["0.0", "0.5", "1.0"]


@pytest.mark.parametrize(
    "bad", [{"scenes": 0}, {"scenes": 10_000}, {"seconds": 0.2}, {"seconds": float("nan")}, {"seed": -1}]
)
def test_bad_numbers_are_refused(bad):
    with pytest.raises(InputError):
        SynthConfig(**{"scenes": 1, **bad})


def test_other_data_is_never_written_over(root, tmp_path):
    with pytest.raises(InputError, match="another data set"):
        generate(root, replace(CONFIG, seed=9))
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        generate(tmp_path, CONFIG)
    with pytest.raises(InputError, match="file"):
        generate(tmp_path / "precious", CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "synth.json").write_text("{")
    with pytest.raises(InputError, match=r"synth\.json"):
        generate(tmp_path / "damaged", CONFIG)
    with pytest.raises(InputError, match="jobs"):
        generate(tmp_path / "new", CONFIG, jobs=0)


def test_the_command_ends_with_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "genie.cli.main", "data", "synth", str(tmp_path / "out"), "--scenes", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "0 scenes" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
