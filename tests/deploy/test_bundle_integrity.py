"""A bundle that is not what its manifest says is refused, and the message names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calib.errors import InputError
from deploy.pipeline import Pipeline
from deploy.spec import MANIFEST_FILE, Manifest, read_manifest
from deploy.torch_runtime import bundled_model
from genie.config import load_config
from genie.model import GenieDrive
from genie.training.checkpoint import save_checkpoint


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_whole(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert Pipeline(bundle).bundle_id == manifest.digest[:12]
    assert (manifest.config, manifest.step) == (load_config("tiny"), 7)
    assert {"torch", "onnx", "onnxruntime"} <= manifest.versions.keys()


def test_changed_graph(copied: Path) -> None:
    flip_a_byte(copied / "gate.onnx")
    with pytest.raises(InputError, match="sha256") as error:
        Pipeline(copied)
    assert error.value.path == copied / "gate.onnx"


def test_missing_graph(copied: Path) -> None:
    (copied / "gate.onnx").unlink()
    with pytest.raises(InputError, match="missing") as error:
        Pipeline(copied)
    assert error.value.path == copied / "gate.onnx"


def test_changed_manifest(copied: Path) -> None:
    """Such as limits that were made to fit."""
    path = copied / MANIFEST_FILE
    tree = json.loads(path.read_text())
    tree["limits"]["differing_voxels"] = 1.0
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match="changed since the export") as error:
        Pipeline(copied)
    assert error.value.path == path


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": 1}'])
def test_no_manifest_at_all(copied: Path, content: str) -> None:
    (copied / MANIFEST_FILE).write_text(content)
    with pytest.raises(InputError, match="manifest") as error:
        Pipeline(copied)
    assert error.value.path == copied / MANIFEST_FILE


def rewritten(copied: Path, **changes: object) -> None:
    """With a digest that fits: as another version of this project would have written it."""
    manifest = read_manifest(copied)
    Manifest(**{**vars(manifest), **changes}).write(copied)


@pytest.mark.parametrize(
    "changes",
    [{"horizons_s": (1.0, 2.0)}, {"class_names": ("car", "free")}, {"schema": 99}],
    ids=lambda c: next(iter(c)),
)
def test_of_another_version(copied: Path, changes: dict[str, object]) -> None:
    rewritten(copied, **changes)
    with pytest.raises(InputError, match=next(iter(changes))):
        Pipeline(copied)


def test_graph_of_another_bundle(copied: Path) -> None:
    graphs = read_manifest(copied).graphs
    gate = graphs["gate"]
    rewritten(copied, graphs={**graphs, "gate": replace(gate, inputs=gate.inputs[:-1])})
    with pytest.raises(InputError, match=r"state_in\.columns\.moves") as error:
        Pipeline(copied)
    assert error.value.path == copied / "gate.onnx"


def test_other_weights(copied: Path) -> None:
    torch.manual_seed(1)
    config = load_config("tiny")
    save_checkpoint(copied / "weights.safetensors", GenieDrive(config.model), config, step=7)
    with pytest.raises(InputError, match="weights with sha256") as error:
        bundled_model(copied, read_manifest(copied))
    assert error.value.path == copied / "weights.safetensors"


def test_the_command_says_so_and_exits_2(
    tmp_path: Path, geniedrive: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert geniedrive("parity", tmp_path) == 2
    said = capsys.readouterr().err
    assert str(tmp_path) in said and "geniedrive export" in said and "Traceback" not in said
