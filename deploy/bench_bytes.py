"""Bytes that the matrix products of a graph read and write, in the types in which they are multiplied."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import onnx

from calib.errors import CheckFailed

_PRODUCTS = ("MatMul", "Gemm", "Conv")
_INT8_BYTES = 1


class ProductBytes(NamedTuple):
    """weights: constants, each counted once. activations: everything else that products read, and what they write."""

    weights: int
    activations: int


def product_bytes(path: Path) -> ProductBytes:
    """Of one run. What a DequantizeLinear makes is read as INT8, as a compiler reads it; what is written is of the
    graph's own type.

    Raises:
        CheckFailed: the shape or type of an operand is unknown.
    """
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True).graph
    size = {i.name: math.prod(i.dims) * _width(i.data_type) for i in graph.initializer}
    constants = set(size)
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        size[value.name] = math.prod(d.dim_value for d in tensor.shape.dim) * _width(tensor.elem_type)
    maker = {output: node for node in graph.node for output in node.output}
    weights: dict[str, int] = {}
    activations = 0
    for node in graph.node:
        if node.op_type not in _PRODUCTS:
            continue
        for name in (*node.input, *node.output):
            if not size.get(name):
                raise CheckFailed(f"the size of {name}, of {node.op_type} ({node.name}) of {path.name}, is unknown")
            source, found = _source(name, maker, size[name])
            if source in constants:
                weights[source] = found
            else:
                activations += found
    return ProductBytes(sum(weights.values()), activations)


def _source(name: str, maker: dict[str, onnx.NodeProto], size: int) -> tuple[str, int]:
    """What is behind a pair of QuantizeLinear and DequantizeLinear, and its bytes between them."""
    node = maker.get(name)
    if node is None or node.op_type != "DequantizeLinear":
        return name, size
    return maker[node.input[0]].input[0], size // _width(onnx.TensorProto.FLOAT) * _INT8_BYTES


def _width(elem_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)
