"""A real export of a small model, made once: every weight random, so that no part of the graph multiplies by zero."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deploy.bundle import pack
from deploy.export import export
from deploy.golden import record
from deploy.orin.archive import unpack, write_archive
from deploy.parity_stream import given_ticks, parity_stream
from deploy.spec import read_manifest
from deploy.torch_runtime import TorchRuntime
from genie.cli.main import main
from genie.config import load_config
from genie.data.sequence import Sequence
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
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
def sensor_root(made_once: MadeOnce) -> Path:
    """A second of a synthetic town with all its sensor files, images a tenth of the size."""
    config = SynthConfig(scenes=1, seconds=1.0, lidar=True, cameras=True, image_scale=0.1)
    return made_once("sensors", lambda folder: generate(folder, config))


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, made_once: MadeOnce) -> Path:
    return made_once("fp32", lambda folder: export(checkpoint, folder))


@pytest.fixture(scope="session")
def dense_bundle(checkpoint: Path, made_once: MadeOnce) -> Path:
    return made_once("dense", lambda folder: export(checkpoint, folder, "dense"))


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
def fp16_bundle(checkpoint: Path, made_once: MadeOnce) -> Path:
    return made_once("fp16", lambda folder: export(checkpoint, folder, precision="fp16"))


@pytest.fixture(scope="session")
def int8_bundle(checkpoint: Path, calibration_root: Path, made_once: MadeOnce) -> Path:
    def make(folder: Path) -> None:
        export(checkpoint, folder, precision="int8", calibration=calibration_root, calibration_frames=3)

    return made_once("int8", make)


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


@pytest.fixture(scope="session")
def golden(dense_bundle: Path, model: GenieDrive, stream: Sequence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ticks of the dense form, recorded from PyTorch: the plan is given in the first and expected in the second."""
    path = tmp_path_factory.mktemp("golden") / "golden.npz"
    record(path, TorchRuntime(model, "dense"), given_ticks(stream, 2), 2, read_manifest(dense_bundle))
    return path


@pytest.fixture(scope="session")
def archives(dense_bundle: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two releases of one export: the second one also carries a file for which it is another release."""
    folder = tmp_path_factory.mktemp("archives")
    first, second = folder / "first.tar", folder / "second.tar"
    pack(dense_bundle, golden, first)
    repack(first, second, {"app/NEW": b"second"})
    return first, second


def repack(archive: Path, to: Path, changed: Mapping[str, bytes]) -> None:
    """Another archive, in order in itself, with some files added or replaced."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        index = unpack(archive, tree)
        for name, content in changed.items():
            (tree / name).write_bytes(content)
        names = {*index.files, *changed}
        write_archive(to, {n: tree / n for n in names}, model=index.model, version=index.version)


@pytest.fixture(scope="session")
def repacked() -> Callable[[Path, Path, Mapping[str, bytes]], None]:
    return repack


@pytest.fixture(scope="session")
def other_export(dense_bundle: Path) -> dict[str, bytes]:
    """The graph with one weight perturbed, in order in itself: the manifest names its hash."""
    graph = onnx.load(str(dense_bundle / "tick.onnx"))
    weight = next(i for i in graph.graph.initializer if i.name.endswith("model.trajectory.residual.weight"))
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + np.float32(0.01), weight.name))
    content = graph.SerializeToString()
    manifest = read_manifest(dense_bundle)
    tick = replace(manifest.graphs["tick"], sha256=hashlib.sha256(content).hexdigest())
    with tempfile.TemporaryDirectory() as folder:
        replace(manifest, graphs={"tick": tick}).write(Path(folder))
        return {"bundle/tick.onnx": content, "bundle/manifest.json": (Path(folder) / "manifest.json").read_bytes()}


@pytest.fixture(scope="session")
def rewritten_golden(golden: Path) -> Callable[[str, float | None], bytes]:
    """The golden file with something added to an array, or (None) without it."""

    def rewrite(name: str, amount: float | None) -> bytes:
        with np.load(golden) as arrays:
            changed = {n: arrays[n] for n in arrays.files}
        value = changed.pop(name)
        if amount is not None:
            changed[name] = value + np.float32(amount)
        file = io.BytesIO()
        np.savez(file, **changed)
        return file.getvalue()

    return rewrite
