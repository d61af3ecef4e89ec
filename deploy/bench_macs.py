"""What a tick costs besides time, counted from what was exported: multiplications, bytes that it carries and reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from calib.errors import CheckFailed
from deploy.spec import GATE, STATE_IN, TICK, Manifest, tick_of
from genie.attention import key_width

_UNCOUNTED = ("ConvTranspose", "Einsum", "QLinearMatMul", "MatMulInteger")


class CacheBytes(NamedTuple):
    """Of a tick. bound: what it reads of the buffers of cached keys and values (of fused memory: of its
    tokens) that it is given. attended: all keys and values that its attention reads, those included that it computes
    itself."""

    bound: float
    attended: float


def static_shapes(path: Path) -> tuple[onnx.GraphProto, dict[str, tuple[int, ...]]]:
    """A graph with the types of all its tensors, and their shapes by name."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True).graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return graph, shapes


def macs(path: Path) -> int:
    """Multiply-accumulates of a graph's MatMul, Gemm and Conv nodes, from its static shapes: of all that multiplies.

    Raises:
        CheckFailed: another operator does, or a shape is unknown.
    """
    graph, shapes = static_shapes(path)
    total = 0
    for node in graph.node:
        if node.op_type in _UNCOUNTED:
            raise CheckFailed(f"{node.op_type} ({node.name}) of {path.name} multiplies, and is not counted")
        if node.op_type in ("MatMul", "Gemm", "Conv"):
            total += _of_node(node, shapes, path)
    return total


def _of_node(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], path: Path) -> int:
    left, out = shapes.get(node.input[0]), shapes.get(node.output[0])
    if node.op_type == "Conv":  # of each output: the kernel, over the channels of its group
        left = shapes.get(node.input[1])
    if not left or out is None or 0 in (*left, *out):
        raise CheckFailed(f"the shape of {node.op_type} ({node.name}) of {path.name} is unknown: {left} -> {out}")
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(left[1:])
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(out) * left[0 if turned else -1]


def macs_of_graphs(bundle: Path, manifest: Manifest) -> dict[str, int]:
    """By name of graph."""
    return {name: macs(Path(bundle) / graph.file) for name, graph in manifest.graphs.items()}


def macs_of_tick(of_graphs: Mapping[str, int], buckets: Mapping[int, int]) -> float:
    """Mean of a tick, gate and bucket, at a mix. buckets: columns computed -> number of ticks."""
    if GATE not in of_graphs:
        return float(sum(of_graphs.values()))
    ticks = sum(buckets.values())
    return of_graphs[GATE] + sum(of_graphs[tick_of(k)] * count for k, count in buckets.items()) / ticks


def state_bytes(manifest: Manifest) -> int:
    """What a stream carries from tick to tick: one set of the runtime's two."""
    return sum(spec.nbytes for spec in manifest.state().values())


def cache_bytes(bundle: Path, manifest: Manifest) -> dict[str, CacheBytes]:
    """Keys and values of all layers, by name of graph."""
    state, model = manifest.state(), manifest.config.model
    cached = [name for name in state if name.startswith(("keys_", "values_", "memory.keys_", "memory.values_"))]
    if "memory.tokens" in state and "memory.keys_0" not in state:
        cached.append("memory.tokens")  # their keys and values are computed as they are read
    present = state["keys_0"].shape[-2]
    if GATE in manifest.graphs:
        read = present + state["memory.tokens"].shape[0]  # what the tick computes goes into the cache first
    else:
        read = present + math.prod(state["keys_0"].shape[:-1])
    row = (key_width(model.width, model.heads) + model.width) * model.layers * np.dtype(state["keys_0"].dtype).itemsize
    ticks = {name: graph for name, graph in manifest.graphs.items() if name != GATE}
    bound = {n: bytes_read(Path(bundle) / g.file, [STATE_IN + name for name in cached]) for n, g in ticks.items()}
    return {name: CacheBytes(found, read * row) for name, found in bound.items()}


def cache_of_tick(of_graphs: Mapping[str, CacheBytes], buckets: Mapping[int, int]) -> CacheBytes:
    """Mean of a tick at a mix. buckets: columns computed -> number of ticks."""
    if TICK in of_graphs:
        return of_graphs[TICK]
    weights = np.array(list(buckets.values())) / sum(buckets.values())
    return CacheBytes(*(weights @ np.array([of_graphs[tick_of(k)] for k in buckets])).tolist())


def bytes_read(path: Path, names: Iterable[str]) -> int:
    """Of these inputs of a graph: of one that is gathered from and nothing else, the rows that are taken; of any other
    all.

    Raises:
        CheckFailed: the shape of what is gathered is unknown.
    """
    graph, shapes = static_shapes(path)
    width = {v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).itemsize for v in graph.input}
    total = 0
    for name in names:
        readers = [node for node in graph.node if name in node.input]
        if not readers:
            continue
        gathers = all(node.op_type == "Gather" and node.input[0] == name for node in readers)
        taken = [shapes.get(node.output[0], (0,)) for node in readers] if gathers else [shapes[name]]
        if any(0 in shape for shape in taken):
            raise CheckFailed(f"the shape of what {path.name} gathers from {name} is unknown")
        total += sum(map(math.prod, taken)) * width[name]
    return total
