"""A real export of a small model, made once: every weight random, so that no part of the graph multiplies by zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.export import export
from deploy.parity_stream import parity_stream
from genie.cli.main import main
from genie.config import load_config
from genie.data.sequence import Sequence
from genie.model import GenieDrive
from genie.training.checkpoint import save_checkpoint


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Threads that wait for each other cost seconds a tick as soon as anything else runs on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model() -> GenieDrive:
    torch.manual_seed(0)
    model = GenieDrive(load_config("tiny").model).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    model.confidence_of_origin.uniform_(0.3, 0.9)
    return model


@pytest.fixture(scope="session")
def checkpoint(model: GenieDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_checkpoint(path, model, load_config("tiny"), step=7)
    return path


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(checkpoint, tmp_path_factory.mktemp("export") / "bundle").folder


@pytest.fixture(scope="session")
def dense_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(checkpoint, tmp_path_factory.mktemp("dense") / "bundle", "dense").folder


@pytest.fixture(scope="session")
def calibration_root(stream: Sequence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the first five frames of a stream."""
    root = tmp_path_factory.mktemp("calibration")
    (root / "stream").mkdir()
    some = slice(0, 5)
    poses = stream.world_from_ego[some]
    np.savez_compressed(
        root / "stream" / "scene-0001.npz",
        semantics=stream.semantics[some],
        timestamp_us=stream.timestamp_us[some],
        ego_xyz=poses[:, :3, 3],
        ego_yaw=np.arctan2(poses[:, 1, 0], poses[:, 0, 0]),
    )
    return root


@pytest.fixture(scope="session")
def fp16_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(checkpoint, tmp_path_factory.mktemp("fp16") / "bundle", precision="fp16").folder


@pytest.fixture(scope="session")
def int8_bundle(checkpoint: Path, calibration_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "bundle"
    return export(checkpoint, folder, precision="int8", calibration=calibration_root, calibration_frames=3).folder


@pytest.fixture(scope="session")
def bundles(bundle: Path, fp16_bundle: Path, int8_bundle: Path) -> dict[str, Path]:
    """Of the same weights, by precision."""
    return {"fp32": bundle, "fp16": fp16_bundle, "int8": int8_bundle}


@pytest.fixture(scope="session")
def stream() -> Sequence:
    """Six frames at 10 Hz that drive and turn, and three seconds of truth after the first."""
    stream = parity_stream(None, None, 6)
    assert np.linalg.norm(np.diff(stream.world_from_ego[:, :3, 3], axis=0), axis=1).max() > 0.1
    return stream


@pytest.fixture
def geniedrive(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command line in this process and returns its exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["geniedrive", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    return run
