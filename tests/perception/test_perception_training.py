"""Training on a few made-up keyframes: it learns, stops and goes on, and one network serves any sensors."""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.errors import InputError
from calib.rig import Rig
from perception.checkpoint import load_network, save_checkpoint
from perception.config import CAMERAS, Config, ModelConfig, TrainConfig, load_config
from perception.evaluate import CAMERA_ONLY, FUSED, LIDAR_ONLY, Perceiver, evaluate, mean_map
from perception.frames import Frame, FrameStore
from perception.metrics import mean_iou, occupied_iou
from perception.model import OccupancyNet
from perception.prepare import STRIDE, UNKNOWN_DEPTH
from perception.report import to_json
from perception.sampling import frame_names, sample_batch
from perception.settle import CANDIDATES, free_bias
from perception.train import learning_rate, train
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

SMALL_IMAGES = ModelConfig(image_width=128, image_height=64, depth_bins=8)
MODEL = replace(SMALL_IMAGES, backbone_width=4, camera_channels=4, bev_channels=16, fine_channels=8)
CONFIG = Config(model=MODEL, train=TrainConfig(steps=4, batch=1, warmup_steps=1, checkpoint_every=2, average=0.5))
SCENES = {"scene-0001": ["a", "b"]}
MANMADE = CLASS_NAMES.index("manmade")


def make(rng: np.random.Generator) -> Frame:
    """A road, and a wall somewhere that the lidar hits and the cameras see as a bright stripe."""
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[:, :, 2] = DRIVEABLE
    at = int(rng.integers(130, 180))
    semantics[at, :, 3:10] = MANMADE
    hits = np.where((semantics != FREE) & (rng.random(GRID.shape) < 0.3), 32, 0).astype(np.uint8)
    lidar = np.zeros((5, 16, 200, 200), np.uint8)
    lidar[0] = hits.transpose(2, 0, 1)
    images = np.zeros((6, MODEL.image_height, MODEL.image_width, 3), np.uint8)
    images[0] = at
    depth = np.full((6, MODEL.image_height // STRIDE, MODEL.image_width // STRIDE), UNKNOWN_DEPTH, np.uint8)
    depth[0] = 5
    mask = np.ones(GRID.shape, bool)
    return Frame(lidar, lidar, images, np.ones(6, bool), depth, semantics, mask, mask, np.eye(4), np.eye(4))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, nuscenes_rig: Rig) -> FrameStore:
    store, rng = FrameStore(tmp_path_factory.mktemp("frames"), MODEL), np.random.default_rng(0)
    store.write_rig("scene-0001", nuscenes_rig)
    for token in SCENES["scene-0001"]:
        store.write("scene-0001", token, make(rng))
    return store


@pytest.fixture(scope="module")
def run(store: FrameStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "out"
    assert train(CONFIG, store, SCENES, run, seed=1)
    return run


def test_learns_from_lidar_and_beats_what_it_knew_before(store: FrameStore, run: Path) -> None:
    """Four steps suffice to tell ground from air; the row of each set of sensors is there."""
    torch.manual_seed(1)
    rows = {}
    for name, model in (("new", OccupancyNet(MODEL).eval()), ("trained", load_network(run).model)):
        sensors, prior = (LIDAR_ONLY, CAMERA_ONLY, FUSED), mean_map(store, SCENES)
        rows[name] = evaluate(partial(Perceiver, model), store, SCENES, sensors, prior=prior)
    assert [r.name for r in rows["new"]] == ["mean map", "raw voxels", "lidar", "cameras", "lidar + cameras"]
    new, trained = (occupied_iou(rows[name][4].tables["none"]).value for name in ("new", "trained"))
    assert trained > new + 0.1
    told = to_json(rows["trained"])
    assert told[0]["masks"]["camera"]["iou"] is not None and told[0]["ray_iou"] is None
    raw = occupied_iou(rows["new"][1].tables["none"])
    assert raw.value == pytest.approx(0.3, abs=0.01)  # the share of voxels that the made-up lidar hits


def test_interrupted_and_resumed_it_ends_with_the_same_weights(
    store: FrameStore, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cut"
    seen = []

    def interrupting(step: int, schedule: TrainConfig) -> float:
        seen.append(step)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return learning_rate(step, schedule)

    monkeypatch.setattr("perception.train.learning_rate", interrupting)
    assert not train(CONFIG, store, SCENES, out, seed=1)
    assert load_network(out).step == 2
    assert train(CONFIG, store, SCENES, out, seed=1, resume=True)
    whole, cut = load_network(run), load_network(out)
    assert whole.step == cut.step == 4
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(cut.model.state_dict()[name], tensor, msg=name)


def test_a_run_is_not_overwritten_and_another_network_does_not_resume_it(store: FrameStore, run: Path) -> None:
    with pytest.raises(InputError, match="not empty"):
        train(CONFIG, store, SCENES, run)
    other = replace(CONFIG, model=replace(MODEL, bev_channels=32))
    with pytest.raises(InputError, match="another network"):
        train(other, store, SCENES, run, resume=True)


def test_batches_leave_sensors_and_cameras_out_as_often_as_asked(store: FrameStore) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, lidar_alone=0.3, camera_alone=0.3, camera_dropout=0.25))
    names, kinds, present = frame_names(store, SCENES), [], []
    for step in range(40):
        batch = sample_batch(store, names, config, np.random.default_rng(step))
        kinds.append((batch.inputs.lidar is not None, batch.inputs.images is not None))
        if batch.inputs.present is not None:
            present.append(batch.inputs.present.mean().item())
    assert (False, False) not in kinds
    assert 5 <= kinds.count((True, False)) <= 20 and 5 <= kinds.count((False, True)) <= 20
    assert 0.65 < np.mean(present) < 0.85


def test_configs_that_cannot_be_meant_are_refused() -> None:
    for override, said in (
        ("model.lidar=false", "one of them"),
        ("model.image_width=350", "multiples of 32"),
        ("model.bev_channels=40", "multiples of 16"),
        ("train.mask=sky", "camera, lidar, either, none"),
        ("train.lidar_alone=0.9", "at most 1"),
        ("model.colour=1", "unknown key"),
    ):
        with pytest.raises(InputError, match=said):
            load_config(None, [override, "model.camera=false"] if override == "model.lidar=false" else [override])


def test_a_checkpoint_of_the_world_model_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, OccupancyNet(MODEL), CONFIG, 3)
    assert load_network(path).step == 3 and load_network(tmp_path).config == CONFIG
    from genie.training.checkpoint import read_checkpoint

    with pytest.raises(InputError, match="geniedrive-1"):
        read_checkpoint(path)
    assert mean_iou(np.zeros((18, 18), np.int64)).valid is False and len(CAMERAS) == 6


def test_the_bias_of_free_is_the_one_with_the_best_occupied_iou(store: FrameStore) -> None:
    """As shifting the network itself, and scoring it, finds. Untrained: it is sure of nothing, so that each counts."""
    torch.manual_seed(1)
    model = OccupancyNet(MODEL).eval()
    sensors, scores = (LIDAR_ONLY, CAMERA_ONLY, FUSED), {}
    for bias in CANDIDATES:
        model.head.shift_free(bias)
        rows = evaluate(partial(Perceiver, model), store, SCENES, sensors)[-3:]
        scores[bias] = np.mean([occupied_iou(r.tables[mask]).value for r in rows for mask in ("camera", "none")])
        model.head.shift_free(-bias)
    assert len(set(scores.values())) > 3
    assert free_bias(model, store, SCENES) == max(CANDIDATES, key=lambda bias: scores[bias])


def test_training_begins_with_given_weights(store: FrameStore, run: Path, tmp_path: Path) -> None:
    """No step taken, they are what comes out; those of another network are refused."""
    none = replace(CONFIG, train=replace(CONFIG.train, steps=0))
    assert train(none, store, SCENES, tmp_path / "tuned", weights=run)
    begun, given = load_network(tmp_path / "tuned"), load_network(run)
    assert begun.step == 0
    for name, tensor in given.model.state_dict().items():
        torch.testing.assert_close(begun.model.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    other = replace(CONFIG, model=replace(MODEL, bev_channels=32))
    with pytest.raises(InputError, match="another network"):
        train(other, store, SCENES, tmp_path / "other", weights=run)
