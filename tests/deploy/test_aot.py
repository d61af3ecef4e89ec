"""NVIDIA's parser and compiler take every graph of every precision: ahead of time, for Ampere, without a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from deploy.aot import build_ahead
from deploy.bundle_files import sha256_of
from deploy.spec import read_manifest

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel here")


def part(bundle: Path, folder: Path, names: list[str]) -> Path:
    """A bundle of some of the graphs."""
    shutil.copytree(bundle, folder)
    whole = read_manifest(bundle)
    replace(whole, graphs={name: whole.graphs[name] for name in names}).write(folder)
    return folder


@pytest.mark.parametrize("name", ["tick_64", "tick_128", "tick_256", "tick_640", "tick_2500"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_every_graph_builds(bundles: dict[str, Path], tmp_path: Path, precision: str, name: str) -> None:
    (built,) = build_ahead(part(bundles[precision], tmp_path / "bundle", [name]))
    assert built.refused is None and built.graph == name and built.size > 1_000_000


def test_the_command_fails_where_a_graph_does_not_build(
    bundles: dict[str, Path], tmp_path: Path, geniedrive: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = part(bundles["fp32"], tmp_path / "bundle", ["gate"])
    assert geniedrive("aot", folder) == 0
    assert "gate: parsed and built in" in capsys.readouterr().out
    graph = onnx.load(str(folder / "gate.onnx"))
    graph.graph.node[-1].op_type = "NonMaxSuppression"
    onnx.save(graph, str(folder / "gate.onnx"))
    manifest = read_manifest(folder)
    spec = replace(manifest.graphs["gate"], sha256=sha256_of(folder / "gate.onnx"))
    replace(manifest, graphs={"gate": spec}).write(folder)
    assert geniedrive("aot", folder) == 1
    said = capsys.readouterr()
    assert "parser refuses gate.onnx" in said.out and "no engine of gate" in said.err
