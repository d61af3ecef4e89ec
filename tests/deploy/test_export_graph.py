"""The exported graph: what is in it and what is not. That NVIDIA's compiler takes it is test_engine.py's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calib.errors import CheckFailed, InputError
from deploy.export import FORBIDDEN, OPSET, check_graph, export
from deploy.spec import read_manifest
from genie.attention import key_width
from genie.config import load_config


@pytest.fixture(scope="module")
def graphs(bundle: Path, dense_bundle: Path) -> dict[str, onnx.ModelProto]:
    """Of both forms, by file."""
    files = [*bundle.glob("*.onnx"), *dense_bundle.glob("*.onnx")]
    return {path.stem: onnx.load(str(path)) for path in files}


def test_a_gated_bundle_has_a_gate_and_a_tick_for_each_bucket(bundle: Path, dense_bundle: Path) -> None:
    buckets = load_config("tiny").model.gate.buckets
    assert list(read_manifest(bundle).graphs) == ["gate", *(f"tick_{k}" for k in buckets)]
    assert list(read_manifest(dense_bundle).graphs) == ["tick"]


def test_only_operators_that_stay_static(graphs: dict[str, onnx.ModelProto], bundle: Path, dense_bundle: Path) -> None:
    for name, graph in graphs.items():
        found = {node.op_type for node in graph.graph.node}
        assert not found & set(FORBIDDEN), name
        wasteful = found & {"Shape", "ConstantOfShape", "Identity"}
        assert not wasteful, f"{name}: something is computed that depends on no input"
        assert [(o.domain, o.version) for o in graph.opset_import] == [("", OPSET)]
    for folder in (bundle, dense_bundle):
        for name, spec in read_manifest(folder).graphs.items():
            assert sum(spec.operators.values()) == len(graphs[name].graph.node)


def test_no_bytes_anywhere(graphs: dict[str, onnx.ModelProto]) -> None:
    """TensorRT computes nothing in uint8: voxels travel as packed rows, and the forecast is one gather of them."""
    for name, graph in graphs.items():
        writers = {node.op_type for node in graph.graph.node if "forecast.rows" in node.output}
        assert writers <= {"Gather", "Reshape"}, name
        inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True)
        everywhere = [*inferred.graph.value_info, *graph.graph.input, *graph.graph.output]
        assert not [v.name for v in everywhere if v.type.tensor_type.elem_type == TensorProto.UINT8], name


@pytest.mark.parametrize("form", ["gated", "dense"])
def test_state_goes_in_as_it_comes_out(bundle: Path, dense_bundle: Path, form: str) -> None:
    manifest = read_manifest(bundle if form == "gated" else dense_bundle)
    specs = {name: (g.inputs, g.outputs) for name, g in manifest.graphs.items()}
    taken = {(s.name[9:], s.dtype, s.shape) for i, _ in specs.values() for s in i if s.name.startswith("state_in.")}
    config = load_config("tiny").model
    keys = key_width(config.width, config.heads)
    rows = (2500,) if form == "gated" else (config.history, 2500)
    assert {("keys_1", "float32", (*rows, keys)), ("values_1", "float32", (*rows, config.width))} <= taken
    for name, (_, outputs) in specs.items():
        if name == "gate":
            continue
        given = {(s.name[10:], s.dtype, s.shape) for s in outputs if s.name.startswith("state_out.")}
        assert taken == given
        assert [(s.name, s.dtype, s.shape) for s in outputs[:3]] == [
            ("forecast.rows", "int32", (6, 200, 200, 4)),
            ("forecast.trajectory", "float32", (6, 3)),
            ("forecast.confidence", "float32", (6, 50, 50)),
        ]


def small_graph(*nodes: onnx.NodeProto, outputs: tuple[tuple[str, int, list[int]], ...]) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5000])]
    return helper.make_model(
        helper.make_graph(
            list(nodes),
            "small",
            ends,
            [helper.make_tensor_value_info(*output) for output in outputs],
            [numpy_helper.from_array(np.array([4000]), "k"), numpy_helper.from_array(np.array([[1]]), "at")],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )


@pytest.mark.parametrize(
    ("node", "outputs", "complaint"),
    [
        (helper.make_node("NonZero", ["x"], ["i"]), (("i", TensorProto.INT64, [1, None]),), "NonZero"),
        (
            helper.make_node("TopK", ["x", "k"], ["v", "i"]),
            (("v", TensorProto.FLOAT, [4000]), ("i", TensorProto.INT64, [4000])),
            "TopK",
        ),
        (
            helper.make_node("ScatterND", ["x", "at", "y"], ["z"], reduction="add"),
            (("z", TensorProto.FLOAT, [5000]),),
            "reduction",
        ),
    ],
)
def test_refuses_what_tensorrt_would(node: onnx.NodeProto, outputs: tuple, complaint: str) -> None:
    one = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones(1, np.float32)))
    with pytest.raises(CheckFailed, match=complaint):
        check_graph(small_graph(one, node, outputs=outputs))


def test_never_writes_over_other_files(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something else than an export") as error:
        export(checkpoint, tmp_path)
    assert error.value.path == tmp_path
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_export_leaves_the_older_one(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "manifest.json").write_text((bundle / "manifest.json").read_text())

    def fail(graph: onnx.ModelProto) -> None:
        raise CheckFailed("on purpose")

    monkeypatch.setattr("deploy.export.check_graph", fail)
    with pytest.raises(CheckFailed):
        export(bundle / "weights.safetensors", out)
    assert json.loads((out / "manifest.json").read_text())["sha256"] == read_manifest(bundle).digest
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"], "temporary files were left"


def test_an_export_replaces_an_older_one_and_equal_weights_make_equal_bundles(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    (out / "stale.engine").write_text("old")
    assert export(bundle / "weights.safetensors", out).manifest.bundle_id == read_manifest(bundle).bundle_id
    written = [graph.file for graph in read_manifest(bundle).graphs.values()]
    assert sorted(p.name for p in out.iterdir()) == sorted(["manifest.json", "weights.safetensors", *written])
