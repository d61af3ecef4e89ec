"""An exported perception: one static graph that equals PyTorch whatever sensors there are, and the way into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.errors import InputError
from calib.rig import Rig
from calib.transforms import se3_from_xyz_yaw
from deploy import aot
from deploy.engine import build_plan
from deploy.perceive import Perception
from deploy.perception_export import export_perception
from deploy.perception_parity import checks, compare_perception
from deploy.perception_spec import IMAGES, LIDAR, read_perception_manifest
from deploy.spec import WEIGHTS_FILE
from perception.checkpoint import load_network, save_checkpoint
from perception.config import CAMERAS, load_config
from perception.lift import LiftIndex
from perception.model import Inputs, OccupancyNet
from perception.prepare import camera_input, lidar_input, plan_rig
from perception.preprocess import normalise
from perception.types import FREE, GRID
from perception.voxelize import LidarSweep

SMALL = [
    "model.image_width=128", "model.image_height=64", "model.backbone_width=8", "model.camera_channels=8",
    "model.depth_bins=12", "model.bev_channels=16", "model.fine_channels=8", "model.sweeps=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def perception_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, also where training starts from zero."""
    torch.manual_seed(0)
    config = load_config(None, SMALL)
    model = OccupancyNet(config.model).eval()
    for name, parameter in model.named_parameters():
        if not parameter.any() and name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.05)
    path = tmp_path_factory.mktemp("perception") / "model.safetensors"
    save_checkpoint(path, model, config, step=3)
    return path


@pytest.fixture(scope="module")
def export(perception_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("perception") / "export"
    export_perception(perception_checkpoint, folder)
    return folder


def test_it_equals_pytorch_with_all_sensors_and_with_some_lost(export: Path) -> None:
    differences = compare_perception(export, threads=1)
    assert [d.case for d in differences] == ["all", "front camera lost", "lidar silent"]
    assert [c for c in checks(differences, export) if not c.passed] == []


def test_a_perturbed_weight_is_seen(export: Path, perception_checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_network(perception_checkpoint)
    with torch.no_grad():
        *_, last = (p for n, p in loaded.model.named_parameters() if n.startswith("head.") and p.dim() > 1)
        last.mul_(1.05)
    save_checkpoint(tmp_path / "other.safetensors", loaded.model, loaded.config, loaded.step)
    assert any(not c.passed for c in checks(compare_perception(export, tmp_path / "other.safetensors"), export))


def test_tensorrt_rtx_builds_it(export: Path, tmp_path: Path) -> None:
    graph = export / read_perception_manifest(export).graph.file
    built = build_plan(aot.load_tensorrt_rtx(), graph, tmp_path / "timing.cache", aot._for_ampere)
    assert built.nbytes > 0


@pytest.fixture(scope="module")
def sweeps(nuscenes_rig: Rig) -> list[LidarSweep]:
    """Three revolutions of a car that drives, over flat ground and a wall; more than the network gathers."""
    random = np.random.default_rng(0)
    found = []
    for t in range(3):
        angle, far = random.uniform(0, 2 * np.pi, 20_000), random.uniform(4.0, 38.0, 20_000)
        high = np.where(far > 20.0, random.uniform(-1.5, 2.0, 20_000), -1.8)
        points = np.stack([far * np.cos(angle), far * np.sin(angle), high, np.full(20_000, 60.0)], axis=1)
        pose = se3_from_xyz_yaw(np.array([[0.5 * t, 0.0, 0.0]]), np.zeros(1))[0]
        found.append(
            LidarSweep(points.astype(np.float32), 50_000 * t, pose, nuscenes_rig.lidars[0].mount.ego_from_sensor)
        )
    return found


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {name: random.integers(0, 256, (900, 1600, 3), np.uint8) for name in CAMERAS}


def test_the_cars_way_is_that_of_training(
    export: Path,
    perception_checkpoint: Path,
    nuscenes_rig: Rig,
    sweeps: list[LidarSweep],
    images: dict[str, np.ndarray],
) -> None:
    """Native images and raw sweeps in; the plain way through PyTorch beside it, a camera lost."""
    del images["CAM_BACK"]
    perceived = Perception(export, nuscenes_rig, threads=1).perceive(sweeps, images)
    model, config, _ = load_network(perception_checkpoint)
    plan = plan_rig(nuscenes_rig, config.model)
    seen = camera_input(plan, images)
    with torch.inference_mode():
        lidar = torch.from_numpy(lidar_input(sweeps[-2:]))[None]
        shown = torch.from_numpy(normalise(seen.images))[None]
        present = torch.from_numpy(seen.present)[None].float()
        plain = model(Inputs(lidar, shown, present, LiftIndex.of(plan.table)))
    assert (perceived.occupancy.semantics != plain.semantics()[0].numpy()).mean() <= 1e-4
    free = torch.softmax(plain.logits, 1)[0, FREE].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(perceived.occupied, 1.0 - free, atol=1e-4)
    assert perceived.cameras == tuple(name != "CAM_BACK" for name in CAMERAS)
    assert perceived.occupancy.validate().semantics.shape == GRID.shape
    assert set(perceived.stage_ms) == {"prepare", "perceive"}


def test_a_silent_lidar_and_dark_cameras_break_nothing_and_nothing_at_all_is_refused(
    export: Path, nuscenes_rig: Rig, sweeps: list[LidarSweep], images: dict[str, np.ndarray]
) -> None:
    perception = Perception(export, nuscenes_rig, threads=1)
    by_cameras, by_lidar = perception.perceive([], images), perception.perceive(sweeps, {})
    assert (by_cameras.occupancy.semantics != by_lidar.occupancy.semantics).any()
    assert not any(by_lidar.cameras)
    with pytest.raises(InputError, match="0 sweeps and 0 images"):
        perception.perceive([], {})


def test_what_is_damaged_or_of_something_else_is_refused(
    export: Path, bundle: Path, tmp_path: Path, nuscenes_rig: Rig
) -> None:
    for name in (WEIGHTS_FILE, "perceive.onnx", "manifest.json"):
        (tmp_path / name).write_bytes((export / name).read_bytes())
    tree = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**tree, "step": 4}))
    with pytest.raises(InputError, match="changed since"):
        Perception(tmp_path, nuscenes_rig)
    (tmp_path / "manifest.json").write_text(json.dumps(tree))
    (tmp_path / "perceive.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"perceive\.onnx"):
        Perception(tmp_path, nuscenes_rig)
    with pytest.raises(InputError, match="schema"):
        Perception(bundle, nuscenes_rig)


def test_the_commands(
    export: Path, perception_checkpoint: Path, tmp_path: Path, geniedrive: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert geniedrive("export", perception_checkpoint, "--out", tmp_path / "again") == 0
    assert "perceive" in capsys.readouterr().out
    manifest = read_perception_manifest(tmp_path / "again")
    assert manifest.bundle_id == read_perception_manifest(export).bundle_id, "equal weights make equal exports"
    assert [s.name for s in manifest.graph.inputs][:2] == [LIDAR, IMAGES]
    assert geniedrive("parity", tmp_path / "again", "--threads", 1) == 0
    assert "front camera lost" in capsys.readouterr().out
    assert geniedrive("export", perception_checkpoint, "--out", tmp_path / "int8", "--precision", "int8") == 2
    assert "--calibration" in capsys.readouterr().err
