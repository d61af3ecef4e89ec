"""FP16 and INT8 bundles: which products are in which type, counted on the graphs; and what an export refuses."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from calib.errors import CheckFailed
from deploy.bundle_files import sha256_of
from deploy.export import FORBIDDEN
from deploy.half import FP16_STATE
from deploy.quantize import check_quantized
from deploy.spec import read_manifest

TICKS = ("tick_64", "tick_128", "tick_256", "tick_640", "tick_2500")
FP32, FP16 = TensorProto.FLOAT, TensorProto.FLOAT16
LAYERS = 22  # Linears of `tiny` in INT8: the tokeniser's 2, 8 in each of 2 layers, the invention's 4


@pytest.fixture(scope="module")
def graphs(bundles: dict[str, Path]) -> dict[str, dict[str, onnx.ModelProto]]:
    """By precision and name."""
    return {
        precision: {name: onnx.load(str(folder / spec.file)) for name, spec in read_manifest(folder).graphs.items()}
        for precision, folder in bundles.items()
    }


def types_of(graph: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor."""
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    ends = (*inferred.value_info, *inferred.input, *inferred.output)
    return {v.name: v.type.tensor_type.elem_type for v in ends} | {i.name: i.data_type for i in inferred.initializer}


def test_the_manifest_says_which(bundles: dict[str, Path]) -> None:
    manifests = {precision: read_manifest(folder) for precision, folder in bundles.items()}
    assert {p: m.precision for p, m in manifests.items()} == {p: p for p in bundles}
    assert manifests["fp32"].calibration_sha256 is manifests["fp16"].calibration_sha256 is None
    assert manifests["int8"].calibration_sha256 == sha256_of(bundles["int8"] / "calibration.json")
    assert len({m.weights_sha256 for m in manifests.values()}) == 1, "parity would compare with other weights"
    assert len({m.bundle_id for m in manifests.values()}) == 3


def test_the_host_gives_every_precision_the_same(bundles: dict[str, Path]) -> None:
    """So that one pipeline feeds all of them, bit for bit; and one gate decides for all of them."""
    manifests = [read_manifest(folder) for folder in bundles.values()]
    inputs = [
        {s for g in m.graphs.values() for s in g.inputs if not s.name.startswith(("state_in.", "link."))}
        for m in manifests
    ]
    outputs = [{s for g in m.graphs.values() for s in g.outputs if s.name.startswith("forecast.")} for m in manifests]
    assert inputs[0] == inputs[1] == inputs[2] and outputs[0] == outputs[1] == outputs[2]
    assert len({m.graphs["gate"].sha256 for m in manifests}) == 1


def test_nothing_dynamic_in_any(graphs: dict[str, dict[str, onnx.ModelProto]]) -> None:
    for precision, by_name in graphs.items():
        for name, graph in by_name.items():
            assert not {node.op_type for node in graph.graph.node} & set(FORBIDDEN), (precision, name)


# FP16


def check_fp16(graph: onnx.ModelProto) -> None:
    """All products of tokens in FP16; each softmax, LayerNorm and rank, and all that indexes the grid, in FP32."""
    types = types_of(graph)
    for node in graph.graph.node:
        read = [types[name] for name in node.input if name]
        if node.op_type in ("Softmax", "LayerNormalization", "TopK", "Sin", "Cos", "Floor"):
            assert read[0] == FP32, f"{node.op_type} {node.name} is not in FP32"
        if node.op_type in ("MatMul", "Gemm"):
            kinds = set(read)
            assert kinds in ({FP16}, {FP32}), f"{node.name} mixes types"
            weight = {i.name: i for i in graph.graph.initializer}.get(node.input[1])
            wide = weight is not None and min(weight.dims) >= 64 and "motion" not in node.name
            assert kinds == {FP16} or not wide or "trajectory" in node.name, f"{node.name} is not in FP16"
    halves = [n for n in graph.graph.node if n.op_type in ("MatMul", "Gemm") and types[n.input[0]] == FP16]
    assert len(halves) == LAYERS + 2 * 4, "a layer has 4 products of attention beside its Linears"


@pytest.mark.parametrize("name", TICKS)
def test_fp16_products_and_fp32_islands(graphs: dict[str, dict[str, onnx.ModelProto]], name: str) -> None:
    check_fp16(graphs["fp16"][name])
    with pytest.raises(AssertionError):
        check_fp16(graphs["fp32"][name])


def test_what_is_carried_in_fp16(bundles: dict[str, Path]) -> None:
    state = read_manifest(bundles["fp16"]).state()
    halves = {name for name, spec in state.items() if spec.dtype == "float16"}
    assert halves == {"keys_0", "keys_1", "values_0", "values_1", "encoded", "tokens"}
    assert all(name.startswith(FP16_STATE) for name in halves)
    in_full = {n: s for n, s in read_manifest(bundles["fp32"]).state().items() if n not in halves}
    assert in_full == {n: s for n, s in state.items() if n not in halves}


# INT8


@pytest.mark.parametrize("name", TICKS)
def test_int8_on_both_inputs_of_every_linear(graphs: dict[str, dict[str, onnx.ModelProto]], name: str) -> None:
    check_quantized(graphs["int8"][name].graph, LAYERS)
    with pytest.raises(CheckFailed, match="0 layers are quantised"):
        check_quantized(graphs["fp32"][name].graph, LAYERS)


def test_int8_is_symmetric_and_per_channel(graphs: dict[str, dict[str, onnx.ModelProto]]) -> None:
    graph = graphs["int8"]["tick_64"].graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    weights = 0
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = (constants[name] for name in node.input[1:3])
        assert zero.dtype == np.int8 and not zero.any() and (scale > 0).all()
        if node.op_type == "QuantizeLinear" and node.input[0] in constants:
            weights += 1
            (axis,) = (a.i for a in node.attribute if a.name == "axis")
            weight = constants[node.input[0]]
            assert scale.shape == (weight.shape[axis],)
            reached = np.abs(weight).max(axis=1 - axis) / scale
            assert np.allclose(reached, 127, atol=0.01), "a scale is not that of its channel"
        elif node.op_type == "QuantizeLinear":
            assert scale.size == 1, "an activation has one scale"
    assert weights == LAYERS


def without_activation_pair(graph: onnx.GraphProto) -> None:
    """A fake: one Linear reads its activation as it is."""
    maker = {output: node for node in graph.node for output in node.output}
    constants = {i.name for i in graph.initializer}
    node = next(
        n for n in graph.node if n.op_type == "MatMul" and (q := _pair(n.input[0], maker)) and q not in constants
    )
    node.input[0] = _pair(node.input[0], maker)


def _pair(name: str, maker: dict[str, onnx.NodeProto]) -> str | None:
    node = maker.get(name)
    return maker[node.input[0]].input[0] if node is not None and node.op_type == "DequantizeLinear" else None


def with_one_scale(graph: onnx.GraphProto) -> None:
    """A fake: the channels of a weight share a scale."""
    constants = {i.name: i for i in graph.initializer}
    quantize = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants)
    scale = constants[quantize.input[1]]
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale).max(), scale.name))


@pytest.mark.parametrize(
    ("fake", "complaint"), [(without_activation_pair, "activation that is not"), (with_one_scale, "all channels")]
)
def test_fake_int8_is_noticed(
    graphs: dict[str, dict[str, onnx.ModelProto]], fake: Callable[[onnx.GraphProto], None], complaint: str
) -> None:
    changed = copy.deepcopy(graphs["int8"]["tick_64"])
    fake(changed.graph)
    with pytest.raises(CheckFailed, match=complaint):
        check_quantized(changed.graph, LAYERS)


def test_the_calibration_file_says_what_was_seen(bundles: dict[str, Path], calibration_root: Path) -> None:
    tree = json.loads((bundles["int8"] / "calibration.json").read_text())
    assert tree["sources"] == {"scene-0001": sha256_of(calibration_root / "stream" / "scene-0001.npz")}
    assert len(tree["frames"]) == 3 and tree["frames"][0]["kinds"] == ["start"]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "int8"], "int8 without calibration data"),
        (["--precision", "int8", "--calibration", "{tmp}/nowhere"], "no such folder"),
        (["--precision", "int8", "--calibration", "{root}", "--calibration-frames", "6"], "5 frames to choose 6 from"),
        (["--precision", "fp16", "--calibration", "{root}"], "calibration data for fp16"),
        (["--precision", "fp8"], "precision 'fp8'"),
        (["--precision", "fp16", "--form", "dense"], "the dense form in fp16"),
    ],
)
def test_a_precision_that_cannot_be_had_is_the_users_mistake(
    checkpoint: Path, calibration_root: Path, tmp_path: Path, geniedrive: Callable[..., int],
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str,
) -> None:  # fmt: skip
    out = tmp_path / "bundle"
    given = [a.format(tmp=tmp_path, root=calibration_root) for a in arguments]
    assert geniedrive("export", checkpoint, "--out", out, *given) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
