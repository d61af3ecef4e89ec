"""Occ3D labels and streams load in the right axes and the right frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes

from calib.errors import InputError
from calib.transforms import inverse
from genie.boxes import mask_of_boxes
from genie.data.nuscenes import keyframes, open_nuscenes
from genie.data.occ3d import load_keyframes, read_labels
from genie.data.stream import list_stream_scenes, load_stream
from genie.data.tracks import load_tracks
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

CAR, MANMADE = CLASS_NAMES.index("car"), CLASS_NAMES.index("manmade")
pytestmark = pytest.mark.mini


@pytest.fixture(scope="module")
def tables(mini_root: Path) -> NuScenes:
    return open_nuscenes(mini_root)


@pytest.fixture(scope="module")
def real_label(mini_root: Path) -> Path:
    """The one Occ3D label of the release itself."""
    return next((mini_root / "occ3d").glob("*/*/labels.npz"))


@pytest.fixture(scope="module")
def car_boxes(tables: NuScenes, real_label: Path) -> np.ndarray:
    """bool [200, 200, 16]: inside an annotated car, 0.2 m margin, in the ego frame of the real label.

    In plan view: the ego poses here are planar (z = 0, no roll, no pitch), which puts the boxes up to a metre too high.
    """
    scene, token = real_label.parts[-3:-1]
    frame = next(frame for frame in keyframes(tables, scene) if frame.token == token)
    boxes = load_tracks(tables, scene).at(frame.stamp_us)
    boxes = replace(boxes, size_lwh=boxes.size_lwh + np.array([0.0, 0.0, 20.0]))
    return mask_of_boxes(boxes.select(boxes.class_id == CAR), inverse(frame.world_from_ego), margin=0.2)


def share_inside(semantics: np.ndarray, boxes: np.ndarray) -> float:
    return float(boxes[semantics == CAR].mean())


def test_real_label_loads_in_the_right_axes(real_label: Path, car_boxes: np.ndarray) -> None:
    semantics = read_labels(real_label).semantics
    assert (semantics == CAR).sum() > 1000
    assert share_inside(semantics, car_boxes) >= 0.99


@pytest.mark.parametrize("wrong", [lambda s: s[:, ::-1], lambda s: s[::-1], lambda s: s.swapaxes(0, 1)])
def test_wrong_axes_would_be_seen(real_label: Path, car_boxes: np.ndarray, wrong) -> None:
    assert share_inside(wrong(read_labels(real_label).semantics), car_boxes) < 0.2


def test_up_is_up_in_the_real_label(real_label: Path) -> None:
    semantics = read_labels(real_label).semantics
    levels = np.arange(GRID.shape[2])
    height = {c: levels[np.nonzero(semantics == c)[2]].mean() for c in (CAR, DRIVEABLE, MANMADE)}
    assert height[DRIVEABLE] < height[CAR] < height[MANMADE]


def test_real_label_has_its_masks(real_label: Path) -> None:
    label = read_labels(real_label)
    assert label.mask_lidar is not None and label.mask_camera is not None
    for mask in (label.mask_lidar, label.mask_camera):
        assert 0.05 < mask.mean() < 0.95
    # What a lidar ray never met is not known to be occupied.
    assert (label.semantics[label.mask_lidar] != FREE).sum() > 0.5 * (label.semantics != FREE).sum()


def test_keyframes_are_the_stream_at_their_stamps(mini_root: Path, tables: NuScenes) -> None:
    scene = "scene-1094"
    keys, stream = load_keyframes(mini_root, scene, tables), load_stream(mini_root, scene)
    rows = np.searchsorted(stream.timestamp_us, keys.timestamp_us)
    np.testing.assert_array_equal(stream.timestamp_us[rows], keys.timestamp_us)
    np.testing.assert_array_equal(stream.semantics[rows], keys.semantics)
    np.testing.assert_allclose(stream.world_from_ego[rows], keys.world_from_ego, atol=1e-3)


def test_streams_of_all_scenes_are_listed(mini_root: Path) -> None:
    assert len(list_stream_scenes(mini_root)) == 8


def test_mini_style_keeps_boxes_and_road_alone(tmp_path: Path) -> None:
    (tmp_path / "stream").mkdir()
    semantics = np.full((1, *GRID.shape), FREE, np.uint8)
    semantics[0, :18, 0, 0] = np.arange(18)
    arrays = {"timestamp_us": np.array([5]), "ego_xyz": np.zeros((1, 3)), "ego_yaw": np.zeros(1)}
    np.savez(tmp_path / "stream" / "scene-1.npz", semantics=semantics, **arrays)
    np.testing.assert_array_equal(load_stream(tmp_path, "scene-1").semantics, semantics)
    seen = load_stream(tmp_path, "scene-1", style="mini").semantics[0, :18, 0, 0]
    np.testing.assert_array_equal(seen, [*range(DRIVEABLE + 1), *[FREE] * 6])


def write_stream(folder: Path, **changed: np.ndarray) -> Path:
    arrays = {
        "semantics": np.full((3, *GRID.shape), FREE, np.uint8),
        "timestamp_us": np.array([0, 100_000, 200_000]),
        "ego_xyz": np.zeros((3, 3)),
        "ego_yaw": np.zeros(3),
        **changed,
    }
    (folder / "stream").mkdir(parents=True)
    path = folder / "stream" / "scene-1.npz"
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ego_yaw": None}, "ego_yaw"),
        ({"semantics": np.full((3, 100, 200, 16), FREE, np.uint8)}, "uint8 [3, 200, 200, 16]"),
        ({"semantics": np.full((3, *GRID.shape), FREE, np.int32)}, "int32"),
        ({"semantics": np.full((3, *GRID.shape), 18, np.uint8)}, "class id 18"),
        ({"timestamp_us": np.array([0, 200_000, 100_000])}, "does not increase"),
        ({"timestamp_us": np.array([0, 100_000])}, "timestamp_us is int64 [2]"),
        ({"ego_xyz": np.full((3, 3), np.nan)}, "NaN"),
    ],
)
def test_a_malformed_stream_names_the_file(tmp_path: Path, changed: dict, message: str) -> None:
    path = write_stream(tmp_path, **changed)
    with pytest.raises(InputError) as caught:
        load_stream(tmp_path, "scene-1")
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_truncated_stream_names_the_file(tmp_path: Path) -> None:
    path = write_stream(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="truncated"):
        load_stream(tmp_path, "scene-1")
