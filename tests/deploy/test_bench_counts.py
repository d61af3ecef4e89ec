"""What the benchmark counts: multiplications of a graph made by hand, bytes of the buffers that are bound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from calib.errors import CheckFailed
from deploy.bench_macs import bytes_read, cache_bytes, cache_of_tick, macs, macs_of_graphs, macs_of_tick, state_bytes
from deploy.bench_variants import export_variants
from deploy.runtime import OnnxRuntime
from deploy.spec import read_manifest
from genie.data.sequence import Sequence
from genie.sparse import kept_rows
from genie.variants import VARIANTS, variants_named


def _graph(path: Path, nodes: list[onnx.NodeProto], out: tuple[int, ...]) -> Path:
    """x [2, 3, 4], v [6, 2]; w [4, 5], b [6, 7], r [2, 7]."""
    ends = {"x": (2, 3, 4), "v": (6, 2)}
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends.items()]
    shapes = {"w": (4, 5), "b": (6, 7), "r": (2, 7), "k": (1, 2, 1)}
    weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, out)
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, [output], constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.save(model, str(path))
    return path


def test_products_of_matrices_are_counted_by_shape(tmp_path: Path) -> None:
    product = helper.make_node("MatMul", ["x", "w"], ["out"])
    assert macs(_graph(tmp_path / "a.onnx", [product], (2, 3, 5))) == 2 * 3 * 5 * 4
    turned = helper.make_node("Gemm", ["v", "b"], ["out"], transA=1)  # (2, 6) by (6, 7)
    assert macs(_graph(tmp_path / "b.onnx", [turned], (2, 7))) == 2 * 7 * 6
    inner = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Transpose", ["y"], ["z"], perm=[0, 2, 1])]
    both = [*inner, helper.make_node("MatMul", ["y", "z"], ["out"])]
    assert macs(_graph(tmp_path / "c.onnx", both, (2, 3, 3))) == 120 + 2 * 3 * 3 * 5
    added = helper.make_node("Add", ["x", "x"], ["out"])
    assert macs(_graph(tmp_path / "d.onnx", [added], (2, 3, 4))) == 0


def test_what_would_be_missed_is_refused(tmp_path: Path) -> None:
    conv = helper.make_node("Einsum", ["x", "w"], ["out"], equation="abc,cd->abd")
    with pytest.raises(CheckFailed, match="Einsum"):
        macs(_graph(tmp_path / "a.onnx", [conv], (2, 3, 5)))


def test_a_tick_is_the_gate_and_the_buckets_of_the_mix() -> None:
    graphs = {"gate": 1, "tick_64": 10, "tick_2500": 100}
    assert macs_of_tick(graphs, {64: 3, 2500: 1}) == 1 + (3 * 10 + 100) / 4
    assert macs_of_tick({"tick": 7}, {0: 5}) == 7


def test_a_smaller_bucket_multiplies_less(bundle: Path, dense_bundle: Path) -> None:
    of_graphs = macs_of_graphs(bundle, read_manifest(bundle))
    ticks = [of_graphs[f"tick_{k}"] for k in (64, 128, 256, 640, 2500)]
    assert ticks == sorted(ticks) and ticks[0] < 0.1 * ticks[-1]
    assert ticks[-1] < sum(macs_of_graphs(dense_bundle, read_manifest(dense_bundle)).values())


@pytest.mark.parametrize("form", ["gated", "dense"])
def test_bytes_are_those_of_the_buffers(bundle: Path, dense_bundle: Path, stream: Sequence, form: str) -> None:
    folder = bundle if form == "gated" else dense_bundle
    manifest = read_manifest(folder)
    state = OnnxRuntime(folder, threads=1).state()
    assert state_bytes(manifest) == sum(array.nbytes for array in state.values())
    tokens, width, keys, layers = 2500, 64, 64 - 2 * 4, 2
    row = layers * (keys + width) * 4
    of_graphs = cache_bytes(folder, manifest)
    whole = sum(a.nbytes for n, a in state.items() if n.startswith(("keys_", "values_", "memory.tokens")))
    if form == "dense":  # one past frame, and the present one that it computes
        assert of_graphs == {"tick": (whole, 2 * tokens * row)} and whole == tokens * row
        return
    assert whole == tokens * row + 256 * width * 4
    kept = kept_rows(64, layers, manifest.config.model.gate)
    for k, computed in ((64, sum(kept)), (2500, layers * 2500)):
        bound, attended = of_graphs[f"tick_{k}"]
        assert bound == whole - computed * row / layers, "what is computed anew is not read"
        assert attended == (tokens + 256) * row, "of 256 fused tokens it computes keys and values"
    mixed = cache_of_tick(of_graphs, {64: 3, 2500: 1})
    assert mixed.bound == pytest.approx(0.75 * of_graphs["tick_64"].bound + 0.25 * of_graphs["tick_2500"].bound)


def test_rows_that_are_gathered_count_and_a_buffer_that_is_read_otherwise_counts_whole(tmp_path: Path) -> None:
    index = helper.make_node("Constant", [], ["i"], value=onnx.numpy_helper.from_array(np.arange(3)))
    some = helper.make_node("Gather", ["v", "i"], ["s"], axis=0)
    graph = _graph(tmp_path / "a.onnx", [index, some, helper.make_node("MatMul", ["s", "r"], ["out"])], (3, 7))
    assert bytes_read(graph, ["v"]) == 3 * 2 * 4
    whole = [index, some, helper.make_node("MatMul", ["v", "r"], ["out"])]
    assert bytes_read(_graph(tmp_path / "b.onnx", whole, (6, 7)), ["v"]) == 6 * 2 * 4


def test_variants_differ_in_form_alone(tmp_path: Path) -> None:
    assert [v.name for v in variants_named(["memory"])] == ["dense", "memory", "all"]
    assert variants_named([]) == list(VARIANTS)
    dense, memory = (v for v in VARIANTS if v.name in ("dense", "memory"))
    exported = export_variants(tmp_path, [dense, memory], config_name="tiny")
    first, second = map(read_manifest, exported)
    assert first.weights_sha256 == second.weights_sha256
    assert (first.form, second.form) == ("dense", "gated")
    assert second.config.model.gate.buckets == (2500,) and second.config.model.gate.keep == (1.0,)
