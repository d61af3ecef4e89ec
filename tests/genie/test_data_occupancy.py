"""Labels built from lidar sweeps: against known truth, on a real frame, and what happens when files are not right."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calib.errors import InputError
from calib.transforms import apply, inverse, se3_from_quaternion, se3_from_xyz_yaw
from genie.cli.main import app
from genie.data.nuscenes import keyframes, open_nuscenes
from genie.data.occ3d import read_labels
from genie.data.occupancy.align import heights
from genie.data.occupancy.boxes import boxes_at, members
from genie.data.occupancy.compare import compare
from genie.data.occupancy.config import OccupancyConfig
from genie.data.occupancy.run import build_labels
from genie.data.occupancy.sweeps import list_sweeps
from genie.data.tracks import Boxes, load_tracks
from perception.metrics import confusion_table, mean_iou, occupied_iou
from perception.types import DRIVEABLE, FREE, GRID, Occupancy
from tests.genie import lidar_scene
from tests.genie.lidar_scene import CLASS, SCENE, keyframe_token

KEYFRAMES = 5  # of 2 s


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lorry, a moving car and walls on a slope, with lidarseg; its labels are built."""
    root = lidar_scene.write(tmp_path_factory.mktemp("lidar") / "data", lidarseg=True)
    build_labels(root)
    return root


@pytest.fixture
def fresh(root: Path, tmp_path: Path) -> Path:
    """A copy of it without labels."""
    return Path(shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("gts")))


def labels(root: Path, keyframe: int) -> Occupancy:
    return read_labels(root / "gts" / SCENE / keyframe_token(keyframe) / "labels.npz")


def iou(found: np.ndarray, truth: np.ndarray, name: str, region: np.ndarray) -> float:
    a, b = (found == CLASS[name])[region], (truth == CLASS[name])[region]
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("keyframe", range(KEYFRAMES))
def test_labels_are_what_is_there(root: Path, keyframe: int) -> None:
    found, truth = labels(root, keyframe), lidar_scene.truth(keyframe / 2)
    assert found.mask_lidar is not None and 0.08 < found.mask_lidar.mean() < 0.3
    region = found.mask_lidar
    assert occupied_iou(confusion_table(truth, found.semantics, region)).value > 0.9
    bounds = {"driveable_surface": 0.9, "terrain": 0.85, "manmade": 0.75, "truck": 0.95}
    scores = {name: iou(found.semantics, truth, name, region) for name in bounds}
    assert all(scores[name] > bound for name, bound in bounds.items()), scores


def test_a_moving_car_is_where_it_is_now_and_leaves_no_trail(root: Path) -> None:
    """It drives 4 m between keyframes, and the ego follows on a slope."""
    car = next(b for b in lidar_scene.BLOCKS if b.name == "car")
    for keyframe in range(KEYFRAMES):
        t = keyframe / 2
        local = apply(inverse(lidar_scene.block_pose(car, t)), apply(lidar_scene.ego_pose(t), GRID.centers()))
        inside = (np.abs(local) <= np.array(car.size_lwh) / 2).all(-1)
        lane = (np.abs(local[..., 1]) < 0.8) & (np.abs(local[..., 0]) < 15) & (lidar_scene.truth(t) == FREE)
        semantics = labels(root, keyframe).semantics
        assert inside.sum() > 40
        assert (semantics[inside] == CLASS["car"]).mean() > 0.95
        assert lane.sum() > 500 and (semantics[lane] == CLASS["car"]).sum() < 10


def test_rays_free_what_moved_without_a_box(fresh: Path) -> None:
    """The ghost comes towards the ego at 9 m/s; nobody annotated it, and no lidarseg tells."""
    shutil.rmtree(fresh / "lidarseg")

    def trail() -> int:
        count = 0
        for keyframe in range(KEYFRAMES):
            world = apply(lidar_scene.ego_pose(keyframe / 2), GRID.centers()) - (*lidar_scene.START, 0.0)
            path = (np.abs(world[..., 1] + 6) < 0.8) & (world[..., 0] > 10) & (world[..., 0] < 32)
            empty = lidar_scene.truth(keyframe / 2) == FREE
            count += int((labels(fresh, keyframe).semantics[path & empty] == CLASS["manmade"]).sum())
        return count

    build_labels(fresh, config=OccupancyConfig(max_hit_share=-1.0))  # nothing is freed
    before = trail()
    build_labels(fresh, overwrite=True)
    assert before > 300 and trail() < 0.6 * before


def test_lidarseg_tells_what_moved_without_a_box(root: Path) -> None:
    for keyframe in range(KEYFRAMES):
        found, truth = labels(root, keyframe).semantics, lidar_scene.truth(keyframe / 2)
        assert ((found == CLASS["car"]) & (truth != CLASS["car"])).sum() < 10


def test_sweeps_on_a_slope_fit_together(root: Path) -> None:
    """The ego climbs 0.36 m in 2 s, which no ego pose of nuScenes says."""
    sweeps = list_sweeps(open_nuscenes(root), SCENE).found
    climbed = [lidar_scene.road_height(n / lidar_scene.HZ) for n in range(len(sweeps))]
    assert climbed[-1] > 0.35
    np.testing.assert_allclose(heights(sweeps), climbed, atol=0.02)


def test_geometry_stands_in_for_lidarseg(root: Path, fresh: Path) -> None:
    shutil.rmtree(fresh / "lidarseg")
    build_labels(fresh)
    found, truth = labels(fresh, 2), lidar_scene.truth(1.0)
    region = labels(root, 2).mask_lidar
    assert region is not None
    bounds = {"driveable_surface": 0.9, "manmade": 0.65, "truck": 0.95}  # the map, what stands, the boxes
    scores = {name: iou(found.semantics, truth, name, region) for name in bounds}
    assert all(scores[name] > bound for name, bound in bounds.items()), scores
    flat = np.isin(truth, [CLASS["terrain"]]) & region & (found.semantics != FREE)
    # The documented choice: sidewalk within 3 m of the road, terrain beyond.
    named = np.isin(found.semantics[flat], [CLASS["sidewalk"], CLASS["terrain"]])
    assert named.mean() > 0.95


def test_the_camera_sees_the_lorry_and_not_what_it_hides(root: Path) -> None:
    """One camera looks ahead; the lorry stands 16 m ahead on its left."""
    found = labels(root, 0)
    seen = found.mask_camera
    assert seen is not None and not seen[:104].any()  # nothing behind the camera, 1.7 m ahead of the rear axle
    lorry = found.semantics == CLASS["truck"]
    nearest = np.argwhere(lorry)[:, 0].min()
    assert seen[nearest][lorry[nearest]].mean() > 0.8
    assert 0 < seen[lorry].mean() < 0.6  # a solid box: most of it is inside
    row, z = 100 + round(5 / 0.4), 4
    behind = slice(np.argwhere(lorry)[:, 0].max() + 2, 160)
    assert not seen[behind, row, z].any()


def test_boxes_claim_their_points_and_the_smallest_box_comes_first(root: Path) -> None:
    rng = np.random.default_rng(1)
    boxes = Boxes(
        instance=np.arange(3), class_id=np.full(3, 4), center_world=np.array([[0.0, 0, 0], [0, 0, 0], [9, 1, 0]]),
        size_lwh=np.array([[6.0, 3, 3], [1, 1, 1], [4, 2, 2]]), yaw_world=np.array([0.0, 0.4, 1.0]),
        velocity_world=np.array([[0.0, 0], [np.nan, np.nan], [0, 0]]),
    )  # fmt: skip
    points = rng.uniform((-5, -4, -3), (12, 4, 3), (3000, 3))
    found = members(points, boxes, 0.1)
    expected = np.full(len(points), -1)
    for row in np.argsort(-boxes.size_lwh.prod(1)):  # the smallest writes last
        local = apply(inverse(se3_from_xyz_yaw(boxes.center_world[row], boxes.yaw_world[row])), points)
        expected[(np.abs(local) <= boxes.size_lwh[row] / 2 + 0.1).all(1)] = row
    np.testing.assert_array_equal(found.row, expected)
    assert (np.bincount(expected + 1) > 5).all()
    fast = replace(boxes, velocity_world=np.array([[0.0, 0], [0, 0], [10, 0]]))
    assert (members(points, fast, 0.1).row == 2).sum() > (found.row == 2).sum()  # a revolution takes 50 ms


def test_a_box_that_appears_between_keyframes_is_known_but_not_trusted(root: Path) -> None:
    tracks = load_tracks(open_nuscenes(root), SCENE)
    first = tracks.boxes[0]
    late = replace(tracks, boxes=(first.select(first.instance != 1), *tracks.boxes[1:]))
    between = (int(tracks.stamp_us[0]) + int(tracks.stamp_us[1])) // 2
    found = boxes_at(late, between)
    whole = tracks.at(between)
    assert list(found.boxes.instance[~found.sure]) == [1]
    np.testing.assert_allclose(
        found.boxes.center_world[~found.sure][0, :2], whole.center_world[whole.instance == 1][0, :2], atol=0.05
    )


def test_labels_that_are_there_stay_and_a_cut_run_goes_on(root: Path, fresh: Path) -> None:
    precious = fresh / "gts" / SCENE / keyframe_token(1) / "labels.npz"
    precious.parent.mkdir(parents=True)
    precious.write_bytes(b"somebody's")
    (report,) = build_labels(fresh)
    assert (report.written, report.kept, report.unseen) == (KEYFRAMES - 1, 1, 0)
    assert precious.read_bytes() == b"somebody's"
    (report,) = build_labels(fresh)
    assert (report.written, report.kept) == (0, KEYFRAMES)
    assert not list((fresh / "gts").rglob(".*"))
    (report,) = build_labels(fresh, overwrite=True)
    assert report.written == KEYFRAMES
    for path in (root / "gts").rglob("labels.npz"):  # equal bytes, run by run
        assert path.read_bytes() == (fresh / path.relative_to(root)).read_bytes()


def test_keyframes_without_a_file_have_no_label(fresh: Path) -> None:
    sweeps = list_sweeps(open_nuscenes(fresh), SCENE).found
    for sweep in sweeps[5:15]:
        sweep.path.unlink()
    (report,) = build_labels(fresh)
    assert (report.written, report.unseen) == (KEYFRAMES - 1, 1)
    assert (report.sweeps, report.missing) == (len(sweeps) - 10, 10)
    assert not (fresh / "gts" / SCENE / keyframe_token(1)).exists()


def _cut_a_sweep(root: Path) -> str:
    path = sorted((root / "sweeps/LIDAR_TOP").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-7])
    return path.name


def _cut_lidarseg(root: Path) -> str:
    path = sorted((root / "lidarseg" / lidar_scene.VERSION).iterdir())[0]
    path.write_bytes(path.read_bytes()[:-7])
    return path.name


def _remove_lidar(root: Path) -> str:
    shutil.rmtree(root / "samples")
    shutil.rmtree(root / "sweeps")
    return "no lidar file of scene-0001 is there"


def _remove_tables(root: Path) -> str:
    shutil.rmtree(root / lidar_scene.VERSION)
    return "no v1.0-* folder"


def _forget_indices(root: Path) -> str:
    path = root / lidar_scene.VERSION / "category.json"
    path.write_text(path.read_text().replace('"index"', '"number"'))
    return "category.json"


@pytest.mark.parametrize("spoil", [_cut_a_sweep, _cut_lidarseg, _remove_lidar, _remove_tables, _forget_indices])
def test_what_cannot_be_used_is_named(fresh: Path, spoil) -> None:
    named = spoil(fresh)
    with pytest.raises(InputError, match=named.replace("*", r"\*")):
        build_labels(fresh)


def test_unknown_scene_and_no_jobs_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match="scene-0099"):
        build_labels(root, scenes=["scene-0099"])
    with pytest.raises(InputError, match="0 jobs"):
        build_labels(root, jobs=0)


def test_the_command_reports_and_compares(root: Path, tmp_path: Path) -> None:
    for keyframe in range(2):
        folder = tmp_path / "truth" / SCENE / keyframe_token(keyframe)
        folder.mkdir(parents=True)
        np.savez(folder / "labels.npz", semantics=lidar_scene.truth(keyframe / 2), mask_lidar=np.ones(GRID.shape),
                 mask_camera=np.ones(GRID.shape))  # fmt: skip
    result = CliRunner().invoke(app, ["data", "occupancy", str(root), "--truth", str(tmp_path / "truth")])
    assert result.exit_code == 0, result.output
    assert "5 keyframes had labels" in result.output and "over 2 keyframes" in result.output
    assert compare(root / "gts", tmp_path / "truth", [SCENE]).frames == 2


def test_synthetic_lidar_gives_the_synthetic_labels(tmp_path: Path) -> None:
    """Sensors and labels of the synthetic world agree, through the eyes of the builder."""
    from genie.data.synth.config import SynthConfig
    from genie.data.synth.generate import generate

    root, out = tmp_path / "synth", tmp_path / "built"
    generate(root, SynthConfig(scenes=1, seconds=2.0, seed=1, stream=False, lidar=True))
    (report,) = build_labels(root, out)
    assert report.written == 5 and report.missing == 0
    found = compare(out, root / "gts", [report.scene])
    assert occupied_iou(found.mask_lidar).value > 0.7
    assert mean_iou(found.mask_lidar).value > 0.65


@pytest.mark.mini
def test_real_frame(mini_root: Path, tmp_path: Path) -> None:
    """The one real lidar frame: boxes hold their class where their points are, rays are free, the road is ahead."""
    (report,) = build_labels(mini_root, tmp_path, scenes=["scene-0061"])
    assert (report.written, report.sweeps) == (1, 1) and report.missing == report.unseen > 30
    nusc = open_nuscenes(mini_root)
    frame = keyframes(nusc, "scene-0061")[0]
    found = read_labels(tmp_path / "scene-0061" / frame.token / "labels.npz")
    points, ego_from_lidar = _real_points(nusc, frame.token)
    boxes = load_tracks(nusc, "scene-0061").boxes[0]
    ego_from_box = inverse(frame.world_from_ego) @ se3_from_xyz_yaw(boxes.center_world, boxes.yaw_world)
    checked = 0
    for row in range(len(boxes)):
        inside = (np.abs(apply(inverse(ego_from_box[row]), points)) < boxes.size_lwh[row] / 2 - 0.2).all(1)
        index = GRID.index_of(points[inside])
        index = index[((index >= 0) & (index < GRID.shape)).all(1)]
        if len(index) < 20:
            continue
        assert (found.semantics[tuple(index.T)] == boxes.class_id[row]).mean() > 0.95, row
        checked += 1
    assert checked >= 3
    distance = np.linalg.norm(points - ego_from_lidar[:3, 3], axis=1)
    far = points[(distance > 4) & (distance < 69)]
    halfway = GRID.index_of((far + ego_from_lidar[:3, 3]) / 2)
    halfway = halfway[((halfway >= 0) & (halfway < GRID.shape)).all(1)]
    assert (found.semantics[tuple(halfway.T)] == FREE).mean() > 0.97
    assert found.mask_lidar is not None and found.mask_lidar[tuple(halfway.T)].mean() > 0.999
    ahead = found.semantics[112:130, 96:104, 1:4]
    assert (ahead == DRIVEABLE).any(2).mean() > 0.9
    assert found.mask_camera is not None and found.mask_camera[112:130, 96:104].any()


def _real_points(nusc, token: str) -> tuple[np.ndarray, np.ndarray]:
    """Points [n, 3] in the ego frame and ego_from_lidar, read without the code under test."""
    row = nusc.get("sample_data", nusc.get("sample", token)["data"]["LIDAR_TOP"])
    mount = nusc.get("calibrated_sensor", row["calibrated_sensor_token"])
    ego_from_lidar = se3_from_quaternion(np.array(mount["translation"]), np.array(mount["rotation"]))
    points = np.fromfile(Path(nusc.dataroot) / row["filename"], np.float32).reshape(-1, 5)[:, :3]
    return apply(ego_from_lidar, points[np.linalg.norm(points, axis=1) > 3].astype(np.float64)), ego_from_lidar
