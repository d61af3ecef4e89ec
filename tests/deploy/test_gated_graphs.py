"""The exported ticks do less work indeed: rows of every product counted on the graphs, not timed.

Each check is also run on a deliberate fake, and must fail there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from deploy.export import fold, trace
from deploy.graphs import GatedTick, Graph, gated_graphs
from deploy.spec import read_manifest
from genie.config import load_config
from genie.gated_state import empty_gated_state
from genie.model import GenieDrive
from genie.sparse import head_rows, kept_rows

N = 2500
BUCKETS = (64, 128, 256, 640, N)
CONTROL_FLOW = {"If", "Loop", "Scan", "NonZero", "ScatterElements"}


class Product(NamedTuple):
    """A matrix product: `batch` times [rows, inner] by [inner, columns]."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def macs(self) -> int:
        return self.batch * self.rows * self.inner * self.columns


def products_of_tokens(graph: onnx.ModelProto) -> list[Product]:
    """All products that the new keys, values and tokens come from: encoder, memory and attention."""
    ends = {o.name for o in graph.graph.output if o.name.startswith("state_out.")}
    wanted = {n for n in ends if n.split(".")[1].startswith(("keys", "values", "encoded", "tokens", "memory"))}
    assert wanted
    nodes = []
    for node in reversed(graph.graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            nodes.append(node)
    shapes = _shapes(graph)
    return [_product(node, shapes) for node in nodes if node.op_type in ("MatMul", "Gemm", "Einsum", "Conv")]


def _shapes(graph: onnx.ModelProto) -> dict[str, list[int]]:
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    tensors = [*inferred.value_info, *inferred.input, *inferred.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in tensors}
    return shapes | {i.name: list(i.dims) for i in inferred.initializer}


def _product(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> Product:
    assert node.op_type in ("MatMul", "Gemm"), node.op_type
    turned = {a.name: a.i for a in node.attribute}
    left, right = shapes[node.input[0]], shapes[node.input[1]]
    if turned.get("transA"):
        left = left[::-1]
    if turned.get("transB"):
        right = right[::-1]
    assert left[-1] == right[-2] and all(left + right)
    return Product(int(np.prod(left[:-2])), left[-2], left[-1], right[-1])


@pytest.fixture(scope="module")
def ticks(bundle: Path) -> dict[int, onnx.ModelProto]:
    assert read_manifest(bundle).config.model.gate.buckets == BUCKETS
    return {k: onnx.load(str(bundle / f"tick_{k}.onnx")) for k in BUCKETS}


class MaskedTick(GatedTick):
    """A fake: computes every column, and keeps the selected ones by a mask."""

    def __init__(self, model: GenieDrive, bucket: int) -> None:
        super().__init__(model, N)
        self.selected = bucket

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        names = list(_inputs(self.model))
        order = tensors[names.index("link.order")]
        mask = torch.zeros(N).index_put((order[: self.selected],), torch.ones(self.selected)).unsqueeze(1)
        new = super().forward(*tensors)
        old = [tensors[names.index(f"state_in.{n}")] for n in ("keys_0", "keys_1", "values_0", "values_1")]
        mixed = [mask * a + (1.0 - mask) * b for a, b in zip(new[3:7], old, strict=True)]
        return (*new[:3], *mixed, *new[7:])


def _inputs(model: GenieDrive) -> dict[str, Tensor]:
    return gated_graphs(model)[1].inputs


def traced(model: GenieDrive, module: nn.Module, folder: Path) -> onnx.ModelProto:
    real = gated_graphs(model)[1]
    trace(Graph("fake", module, real.inputs, real.outputs), folder / "traced.onnx")
    return fold(folder / "traced.onnx", folder / "fake.onnx")


@pytest.fixture(scope="module")
def masked(model: GenieDrive, tmp_path_factory: pytest.TempPathFactory) -> dict[int, onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("masked")
    return {k: traced(model, MaskedTick(model, k), folder) for k in (64, 256, 640)} | {
        N: traced(model, GatedTick(model, N), folder)
    }


# Work


def check_work_follows_the_rows(graphs: dict[int, onnx.ModelProto]) -> None:
    """A mask is flat: 0.1 N costs at most 0.6 of what 0.26 N costs, and that at most 0.6 of N."""
    macs = {k: sum(product.macs for product in products_of_tokens(graph)) for k, graph in graphs.items()}
    assert macs[256] <= 0.6 * macs[640], macs
    assert macs[640] <= 0.6 * macs[N], macs


def check_work_is_proportional_to_the_rows(graphs: dict[int, onnx.ModelProto]) -> None:
    """Work is a constant (the memory) and a share of each row. The full bucket keeps its rows in every layer."""
    macs = {k: sum(product.macs for product in products_of_tokens(graph)) for k, graph in graphs.items() if k < N}
    a_row = (macs[640] - macs[64]) / (640 - 64)
    assert macs[256] == pytest.approx(macs[64] + a_row * (256 - 64), rel=0.01)
    assert macs[64] - 64 * a_row < 0.1 * 640 * a_row, "more is constant than the memory"


@pytest.mark.parametrize("check", [check_work_follows_the_rows, check_work_is_proportional_to_the_rows])
def test_the_work_of_a_tick_follows_its_rows(
    check: Callable[[dict[int, onnx.ModelProto]], None],
    ticks: dict[int, onnx.ModelProto],
    masked: dict[int, onnx.ModelProto],
) -> None:
    check(ticks)
    with pytest.raises(AssertionError):
        check(masked)


def check_rows_are_selected_ones(graph: onnx.ModelProto, k: int, model: GenieDrive) -> None:
    """Every product has as many rows as a layer keeps, or as the memory has slots; no state has N x N."""
    config = model.config
    kept = kept_rows(k, config.layers, config.gate)
    heads = {rows for n in kept for rows in head_rows(n, config.heads, config.gate)}
    products = products_of_tokens(graph)
    rows = [product.rows for product in products]
    assert set(rows) <= {*kept, *heads, config.gate.slots}, sorted(set(rows))
    layer = 6  # query, key, value, out and two of the MLP
    for index, count in enumerate(kept):
        assert sum(product.rows == count for product in products) >= layer, f"layer {index}"
    shapes = _shapes(graph)
    assert not [name for name, shape in shapes.items() if shape[-2:] == [N, N]]


@pytest.mark.parametrize("k", [64, 128, 640])
def test_every_product_has_the_rows_of_its_bucket(k: int, ticks: dict[int, onnx.ModelProto], model: GenieDrive) -> None:
    check_rows_are_selected_ones(ticks[k], k, model)


def test_fake_a_mask_has_all_rows(masked: dict[int, onnx.ModelProto], model: GenieDrive) -> None:
    with pytest.raises(AssertionError):
        check_rows_are_selected_ones(masked[64], 64, model)


def check_fewer_heads_are_fewer_products(graph: onnx.ModelProto, k: int) -> None:
    """Half of the rows are read for by one of two heads alone."""
    reads = [p for p in products_of_tokens(graph) if N in (p.inner, p.columns)]
    assert {(p.batch, p.rows) for p in reads} == {(1, k), (1, k // 2)}


def test_variable_heads_are_prefixes_and_not_masks(model: GenieDrive, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shared = GenieDrive(load_config("tiny", ["model.gate.head_share=[1.0, 0.5]", "model.gate.keep=[1.0]"]).model)
    check_fewer_heads_are_fewer_products(traced(shared, GatedTick(shared, 64), tmp_path), 64)
    with pytest.raises(AssertionError):
        check_fewer_heads_are_fewer_products(traced(model, GatedTick(model, 64), tmp_path), 64)


# Operators


def check_nothing_dynamic(graph: onnx.ModelProto) -> None:
    assert not {node.op_type for node in graph.graph.node} & CONTROL_FLOW
    shapes = _shapes(graph)
    for name in (output for node in graph.graph.node for output in node.output):
        assert all(shapes[name]), f"{name} is empty, or its shape is not known"
    constants = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "TopK":
            assert node.input[1] in constants


def test_no_control_flow_and_no_dynamic_shape(ticks: dict[int, onnx.ModelProto], bundle: Path) -> None:
    for graph in (*ticks.values(), onnx.load(str(bundle / "gate.onnx"))):
        check_nothing_dynamic(graph)


class DynamicTick(GatedTick):
    """A fake: finds its rows by a mask."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        told = list(super().forward(*tensors))
        changed = tensors[list(_inputs(self.model)).index("link.changed")]
        some = (changed > 0.5).nonzero()[:, 0]
        told[3] = told[3].index_put((some,), told[3][some] + 1.0)
        return tuple(told)


class ScatteredTick(GatedTick):
    """A fake: writes element by element."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        told = list(super().forward(*tensors))
        order = tensors[list(_inputs(self.model)).index("link.order")]
        told[3] = told[3].scatter(0, order[:64].unsqueeze(1).expand(-1, told[3].shape[1]), told[3][:64])
        return tuple(told)


@pytest.mark.parametrize("fake", [DynamicTick, ScatteredTick])
def test_fake_rows_by_a_mask_or_written_one_by_one_are_noticed(
    fake: type[GatedTick], model: GenieDrive, tmp_path: Path
) -> None:
    real = gated_graphs(model)[1]
    module, path = fake(model, 64), tmp_path / "traced.onnx"
    trace(Graph("fake", module, real.inputs, real.outputs), path)
    with pytest.raises(AssertionError):
        check_nothing_dynamic(onnx.load(str(path)))


def test_the_state_is_what_the_config_says(bundle: Path, model: GenieDrive) -> None:
    """Bytes that a tick reads from the history do not grow with time: keys, values and slots, of fixed shape."""
    specs = {s.name: s for s in read_manifest(bundle).graphs["tick_64"].inputs}
    state = empty_gated_state(model.config)
    assert specs["state_in.memory.tokens"].shape == tuple(state.memory.tokens.shape) == (256, model.config.width)
    assert specs["state_in.keys_1"].shape == tuple(state.keys[1].shape)
    assert not [name for name in specs if name.startswith("state_in.memory.keys")], "means have no keys of their own"
