"""Keyframes through the devkit into the store, and what is said of data that cannot be used."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from calib.errors import InputError
from calib.files import atomic_path
from genie.cli.main import app
from genie.data.nuscenes import open_nuscenes
from genie.data.perception_frames import prepare_frames, read_keyframe
from perception.config import CAMERAS, ModelConfig
from perception.evaluate import raw_voxels
from perception.frames import Frame, FrameStore
from perception.types import FREE
from perception.voxelize import FEATURES
from tests.genie import lidar_scene
from tests.genie.lidar_scene import SCENE, keyframe_token

CONFIG = ModelConfig(sweeps=5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street with an analytic lidar at 20 Hz, true labels, and a front camera that sees a white disc 20 m ahead."""
    root = lidar_scene.write(tmp_path_factory.mktemp("street") / "data", 1.0)
    for k in range(3):
        path = root / "gts" / SCENE / keyframe_token(k) / "labels.npz"
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, semantics=lidar_scene.truth(k / 2))
        if k < 2:  # the last keyframe's image is missing
            image = root / "samples/CAM_FRONT" / f"{k * lidar_scene.EVERY}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), np.full((900, 1600, 3), 40 + k, np.uint8))
    return root


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    store = FrameStore(tmp_path_factory.mktemp("frames"), CONFIG)
    assert prepare_frames(root, store) == {SCENE: [keyframe_token(k) for k in range(3)]}
    return store


def test_a_frame_holds_inputs_and_truth(store: FrameStore) -> None:
    frame = store.read(SCENE, keyframe_token(1))
    assert frame.lidar.shape == (len(FEATURES), 16, 200, 200)
    assert frame.images.shape == (6, CONFIG.image_height, CONFIG.image_width, 3)
    np.testing.assert_array_equal(frame.present, [name == "CAM_FRONT" for name in CAMERAS])
    assert abs(int(frame.images[0].mean()) - 41) <= 2 and (frame.images[1:] == 0).all()
    np.testing.assert_array_equal(frame.semantics, lidar_scene.truth(0.5))
    assert frame.mask_camera.all() and frame.counts("either").all()  # labels without masks
    # What the lidar hit is occupied in the truth, but for the edges of voxels and what moved over five sweeps.
    hit = raw_voxels(frame) != FREE
    near = cv2.dilate((frame.semantics != FREE).any(2).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert near[hit.any(2)].mean() > 0.97
    assert (frame.depth[0] != 255).mean() > 0.2 and (frame.depth[1:] == 255).all()


def test_several_sweeps_hit_more_and_an_absent_image_is_an_absent_camera(store: FrameStore) -> None:
    first, last = (store.read(SCENE, keyframe_token(k)) for k in (0, 2))
    hits = FEATURES.index("hits")
    assert (last.lidar[hits] > 0).sum() > 1.5 * (last.newest[hits] > 0).sum()
    np.testing.assert_array_equal(first.lidar, first.newest)  # before the first keyframe there is no sweep
    assert not last.present.any()


def test_sweeps_end_at_a_gap(root: Path) -> None:
    nusc = open_nuscenes(root)
    sample = nusc.get("sample", keyframe_token(2))
    assert len(read_keyframe(nusc, sample, 5).sweeps) == 5
    assert len(read_keyframe(nusc, sample, 99).sweeps) == 21


def test_what_is_prepared_is_not_made_again_but_for_another_network_it_is_refused(
    root: Path, store: FrameStore
) -> None:
    path = store.path(SCENE, keyframe_token(0))
    before = path.stat().st_mtime_ns
    prepare_frames(root, FrameStore(store.folder, CONFIG))
    assert path.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="frames made for"):
        FrameStore(store.folder, ModelConfig(sweeps=3))


def test_a_damaged_frame_is_named(store: FrameStore, tmp_path: Path) -> None:
    copy = FrameStore(tmp_path, CONFIG)
    copy.write(SCENE, "cut", store.read(SCENE, keyframe_token(0)))
    whole = copy.path(SCENE, "cut").read_bytes()
    copy.path(SCENE, "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.npz"):
        copy.read(SCENE, "cut")
    assert len(Frame._fields) == 10


def test_a_data_root_without_labels_says_so(tmp_path: Path) -> None:
    root = lidar_scene.write(tmp_path / "data", 0.5)
    result = CliRunner().invoke(app, ["train", "perception", "--dataroot", str(root), "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, InputError)
    assert "--lidar --cameras" in str(result.exception) and str(root) in str(result.exception)
