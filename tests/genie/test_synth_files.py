"""The files of a synthetic nuScenes: the devkit reads them, labels and boxes agree, equal seeds give equal bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.errors import InputError
from calib.transforms import apply, inverse, se3_from_quaternion, wrap_angle, yaw_of
from genie.data.synth.config import SynthConfig
from genie.data.synth.events import KINDS
from genie.data.synth.generate import generate
from genie.data.synth.names import VERSION
from genie.data.synth.sensors import LIDAR, RIG, LidarSweep
from perception.types import CLASS_NAMES, FREE, GRID

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
    """Annotated car boxes: centres in the ego frame of the labels [n, 3], sizes w, l, h [n, 3], yaws [n]."""
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


def seen_from_above(semantics):
    """The class of the highest occupied voxel of each column, [200, 200]; FREE where there is none."""
    occupied = semantics != FREE
    top = semantics.shape[2] - 1 - occupied[..., ::-1].argmax(-1)
    return np.where(occupied.any(-1), np.take_along_axis(semantics, top[..., None], -1)[..., 0], FREE)


def test_keyframe_labels_are_frames_of_the_stream(root, nusc):
    for scene in nusc.scene:
        stream = load(root / "stream" / f"{scene['name']}.npz")
        assert stream["semantics"].dtype == np.uint8 and stream["semantics"].shape == (CONFIG.frames, *GRID.shape)
        assert (np.diff(stream["timestamp_us"]) == 100_000).all()
        row = {int(t): i for i, t in enumerate(stream["timestamp_us"])}
        for sample in (s for s in nusc.sample if s["scene_token"] == scene["token"]):
            labels = load(root / "gts" / scene["name"] / sample["token"] / "labels.npz")
            i = row[sample["timestamp"]]
            # The same but for the tilt, which raises whole columns.
            assert (labels["semantics"] != stream["semantics"][i]).mean() < 0.15
            above = [seen_from_above(s) for s in (labels["semantics"], stream["semantics"][i])]
            assert (above[0] != above[1]).mean() < 0.02
            pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"][LIDAR])["ego_pose_token"])
            np.testing.assert_allclose(stream["ego_xyz"][i], pose["translation"])
            world_from_ego = se3_from_quaternion(np.array(pose["translation"]), np.array(pose["rotation"]))
            assert abs(wrap_angle(yaw_of(world_from_ego) - stream["ego_yaw"][i])) < 1e-9
            assert world_from_ego[2, 2] > np.cos(np.radians(2.2))  # the tables add the tilt of the body, a degree or so


def test_the_can_bus_tells_the_same_drive_as_the_poses(root, nusc):
    from nuscenes.can_bus.can_bus_api import NuScenesCanBus

    can = NuScenesCanBus(dataroot=str(root))
    for scene in nusc.scene:
        messages = can.get_messages(scene["name"], "pose")
        assert [set(m) for m in messages] == [{"accel", "orientation", "pos", "rotation_rate", "utime", "vel"}] * len(
            messages
        )
        stamps = np.array([m["utime"] for m in messages])
        assert (np.diff(stamps) == 20_000).all() and len(stamps) == round(CONFIG.seconds * 50) + 1
        position = np.array([m["pos"] for m in messages])
        sample = nusc.get("sample", scene["last_sample_token"])
        pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"][LIDAR])["ego_pose_token"])
        assert stamps[-1] == pose["timestamp"]
        np.testing.assert_allclose(position[-1], pose["translation"], atol=1e-6)
        np.testing.assert_allclose(messages[-1]["orientation"], pose["rotation"], atol=1e-6)
        forward = np.array([m["vel"] for m in messages])
        assert not forward[:, 1:].any()
        driven = np.linalg.norm(np.diff(position[:, :2], axis=0), axis=1).sum()
        assert abs(forward[:-1, 0].mean() * CONFIG.seconds - driven) < 0.1 + 0.05 * driven
        assert 9.5 < np.mean([m["accel"][2] for m in messages]) < 10.0


def test_events_name_instances_of_the_tables(root, nusc):
    """Each event lies in its scene; what it happens to is annotated while it is near."""
    instances = {i["token"] for i in nusc.instance}
    found = 0
    for scene in nusc.scene:
        events = json.loads((root / "events" / f"{scene['name']}.json").read_text())
        first = nusc.get("sample", scene["first_sample_token"])["timestamp"]
        last = nusc.get("sample", scene["last_sample_token"])["timestamp"]
        stamps = [e["timestamp"] for e in events]
        assert stamps == sorted(stamps) and all(first <= s <= last for s in stamps)
        assert {e["kind"] for e in events} <= set(KINDS)
        assert all(e["instance_token"] in instances for e in events if not e["kind"].startswith("ego"))
        found += len(events)
    assert found > 0


def test_equal_seeds_give_equal_bytes_in_two_processes(root, tmp_path):
    generate(tmp_path / "again", CONFIG, jobs=2)
    assert digest(tmp_path / "again") == digest(root)


def test_a_scene_does_not_depend_on_the_others_but_on_the_seed(root, tmp_path):
    generate(tmp_path / "one", replace(CONFIG, scenes=1))
    one, two = digest(tmp_path / "one"), digest(root)
    scene_files = [name for name in one if not name.startswith((VERSION, "synth.json"))]
    assert len(scene_files) == CONFIG.keyframes + 5  # map, two streams, CAN bus, events
    assert all(two[name] == one[name] for name in scene_files)
    generate(tmp_path / "other", replace(CONFIG, scenes=1, seconds=1.0, stream=False, seed=4))
    assert not any((tmp_path / "other").glob("stream*"))
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


def test_labels_and_poses_do_not_depend_on_the_sensors(root, tmp_path):
    """The stand-in knows nothing of optics: the writer is what is tested."""
    config = replace(CONFIG, scenes=1, lidar=True, cameras=True, image_scale=0.05)
    generate(tmp_path / "data", config, renderer_of=StandIn)
    with_sensors, without = digest(tmp_path / "data"), digest(root)
    shared = [name for name in without if "scene-0001" in name or (name in with_sensors and name[:4] == "maps")]
    assert len(shared) == CONFIG.keyframes + 5
    assert all(with_sensors[name] == without[name] for name in shared)
    rows = {
        n: json.loads((r / VERSION / "sample_data.json").read_text())
        for n, r in (("with", tmp_path / "data"), ("without", root))
    }
    tokens = {row["token"]: row for row in rows["with"]}
    for row in rows["without"]:
        if "-0001__" in row["filename"]:
            same = tokens[row["token"]]
            assert {k: v for k, v in row.items() if k not in ("prev", "next")}.items() <= same.items()
    assert sorted(p.name for p in (tmp_path / "data/samples").iterdir()) == sorted(m.channel for m in RIG)
    listed = {row["filename"] for row in rows["with"]}
    written = {name for name in with_sensors if name.startswith(("samples/", "sweeps/"))}
    assert written == listed and len(listed) == 61 + 6 * 37
    calibrations = json.loads((tmp_path / "data" / VERSION / "calibrated_sensor.json").read_text())
    image = cv2.imread(str(next((tmp_path / "data/samples/CAM_FRONT").iterdir())))
    assert image.shape == (45, 80, 3)
    assert all(39 < c["camera_intrinsic"][0][2] < 42 for c in calibrations if c["camera_intrinsic"])


class StandIn:
    """A renderer that is quick to run: one echo in the middle of each box, grey images, nothing hides anything."""

    def __init__(self, world):
        self.world = world

    def lidar(self, t, rng):
        boxes, ego = self.world.boxes(t), self.world.ego(t)
        centre = apply(inverse(ego.world_from_ego @ RIG[0].ego_from_sensor), boxes.centre)
        points = np.column_stack([centre, rng.random((len(boxes), 2))]).astype(np.float32)
        return LidarSweep(points, boxes.instance.astype(np.int32), np.full(len(boxes), 17, np.uint8))

    def camera(self, mount, t, scale, rng):
        return np.full((round(900 * scale), round(1600 * scale), 3), 128, np.uint8)

    def ranges(self, t, origins, directions):
        return np.full(len(origins), 1e4, np.float32)


@pytest.mark.parametrize(
    "bad",
    [
        {"scenes": 0},
        {"scenes": 10_000},
        {"seconds": 0.2},
        {"seconds": float("nan")},
        {"seed": -1},
        {"image_scale": 0.0},
    ],
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
    with pytest.raises(InputError, match="begun"):
        generate(tmp_path / "new", CONFIG, resume=True)
    assert not (tmp_path / "new").exists()


def test_the_command_ends_with_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "genie.cli.main", "data", "synth", str(tmp_path / "out"), "--scenes", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "0 scenes" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
