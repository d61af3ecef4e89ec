"""The labels of a synthetic nuScenes: both styles of the stream, the ground they follow, and what the rig sees."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from calib.errors import InputError
from genie.cli.main import main
from genie.data.npz import read_npz
from genie.data.scenes import list_scenes
from genie.data.stream import load_stream
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from genie.data.synth.masks import RigView
from genie.data.synth.rasterise import cells, lean_of, rasterise
from genie.data.synth.scenery import GROUND_Z
from genie.data.synth.world import Elevation, scene_world
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

CONFIG = SynthConfig(scenes=1, seconds=4.0, seed=3)
SCENE = "scene-0001"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "data"
    generate(out, CONFIG)
    return out


def test_both_styles_of_the_stream_show_the_same_scene(root):
    full, mini = (load_stream(root, SCENE, source=source) for source in ("stream", "stream-mini"))
    np.testing.assert_array_equal(full.timestamp_us, mini.timestamp_us)
    np.testing.assert_array_equal(full.world_from_ego, mini.world_from_ego)
    assert set(np.unique(mini.semantics)) <= {*range(DRIVEABLE + 1), FREE}
    boxes = full.semantics < DRIVEABLE
    np.testing.assert_array_equal(boxes, mini.semantics < DRIVEABLE)
    np.testing.assert_array_equal(full.semantics[boxes], mini.semantics[boxes])
    assert (mini.semantics == DRIVEABLE).any(axis=(0, 1, 2)).nonzero()[0].tolist() == [GROUND_Z]
    # In plan the roads are one and the same, at whatever height.
    road = [(s.semantics == DRIVEABLE).any(-1) | boxes.any(-1) for s in (full, mini)]
    assert (road[0] == road[1]).mean() > 0.995


def test_commands_read_the_second_stream(root, tmp_path, monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["geniedrive", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0
        return capsys.readouterr().out

    scores = []
    for source in ("stream", "stream-mini"):
        out = tmp_path / f"{source}.json"
        command("eval", "--dataroot", root, "--source", source, "--model", "ego-warp", "--json", out)
        result = json.loads(out.read_text())
        assert (result["source"], result["protocol"], result["windows"]) == (source, "stream", 2)
        scores.append(result["horizons"]["1.0"]["miou"])
    assert scores[0] != scores[1]
    assert f"scenes 1, 10 Hz frames {CONFIG.frames}" in command("data", "info", root)
    with pytest.raises(InputError, match="stream-mini"):
        list_scenes(root, "mini")


def test_full_labels_follow_the_slopes():
    """A road on a hill is labelled where it is, in the frame of the tilted car; streams are levelled."""
    world = scene_world(CONFIG, 0)
    here = world.ego(1.0).xyz[0]
    world.elevation = Elevation(np.array([[0.02, 0.0, -0.02 * here, 1.5]]))  # 3 % where the ego is
    rise = world.elevation.at(cells(world.ego(1.0))) - world.datum(1.0)
    rise = (rise + GRID.centers()[:, :, 0, :2] @ lean_of(world.ego(1.0)))[..., None]
    assert np.ptp(rise) > 1.2
    z = GRID.centers()[..., 2]
    flat = np.isin(rasterise(world, 1.0), [DRIVEABLE, CLASS_NAMES.index("sidewalk"), CLASS_NAMES.index("terrain")])
    assert flat.sum() > 10_000
    assert np.abs(z - np.broadcast_to(rise, z.shape))[flat].max() <= GRID.voxel_size / 2 + 1e-6
    for style in ("occ3d", "mini"):
        level = rasterise(world, 1.0, style, levelled=True) == DRIVEABLE
        assert level.any(axis=(0, 1)).nonzero()[0].tolist() == [GROUND_Z]
    assert (rasterise(world, 1.0, "mini") == DRIVEABLE).any(axis=(0, 1)).nonzero()[0].tolist() == [GROUND_Z]


def test_masks_are_what_the_rig_can_see(root):
    """Neither all nor nothing: the open air around the ego is seen, and ground far out; what is enclosed is not."""
    shares = {"mask_lidar": [], "mask_camera": []}
    z = GROUND_Z + 4  # just below the sensors
    paths = sorted((root / "gts" / SCENE).glob("*/labels.npz"))
    assert len(paths) == CONFIG.keyframes
    for path in paths:
        labels = read_npz(path, ("semantics", "mask_lidar", "mask_camera"))
        occupied = np.pad(labels["semantics"] != FREE, 1)
        neighbours = [np.roll(occupied, step, axis) for axis in (0, 1, 2) for step in (-1, 1)]
        enclosed = np.logical_and.reduce([occupied, *neighbours])[1:-1, 1:-1, 1:-1]
        occupied, near = occupied[1:-1, 1:-1, 1:-1], slice(90, 110)
        for name, share in shares.items():
            seen = labels[name]
            assert seen.dtype == np.uint8 and seen.max() == 1
            assert seen[near, near, z][~occupied[near, near, z]].mean() > 0.8
            assert not (enclosed & (seen > 0)).any()
            share.append(seen[occupied].mean())
    assert all(0.1 < np.mean(share) < 0.8 for share in shares.values())


def test_a_wall_hides_what_is_behind_it_and_no_more():
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[:, :, GROUND_Z] = DRIVEABLE
    semantics[130, 60:140, GROUND_Z:] = CLASS_NAMES.index("manmade")  # 12 m ahead of the ego, as high as the grid
    masks = RigView().masks(semantics)
    for mask in (masks.lidar, masks.camera):
        assert not mask[131:, 70:130].any()  # neither the ground behind nor the air
        assert mask[130, 70:130, GROUND_Z + 1 : GROUND_Z + 4].all()
        assert mask[115:130, 95:105, GROUND_Z].all()  # the ground before it
        assert mask[10:60, 60:140, GROUND_Z].all()  # and far behind the ego, where regular rays leave stripes
