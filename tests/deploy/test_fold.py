"""Folding changes what is computed when, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.fold import IR_VERSION, OPSET, folded


def model(*nodes: onnx.NodeProto, half: bool = False, **constants: np.ndarray) -> onnx.ModelProto:
    """x [2, 3] -> y [2, 3]."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [2, 3]) for name in ("x", "y")]
    known = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "small", ends[:1], ends[1:], known)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def run(graph: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    y: np.ndarray = session.run(["y"], {"x": x})[0]
    return y


def kinds(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


@pytest.mark.parametrize("half", [False, True])
def test_what_depends_on_no_input_is_computed_once(half: bool) -> None:
    """Also in FP16, which stays FP16, and from the shape of an input."""
    dtype = np.float16 if half else np.float32
    graph = model(
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"], value=numpy_helper.from_array(np.zeros(1, dtype))),
        helper.make_node("Add", ["zeros", "a"], ["grid"]),
        helper.make_node("Exp", ["grid"], ["mask"]),
        helper.make_node("Mul", ["x", "mask"], ["y"]),
        half=half, a=np.array([0, 1, 2], dtype),
    )  # fmt: skip
    x = np.arange(6, dtype=dtype).reshape(2, 3)
    small = folded(graph)
    assert kinds(small) == ["Mul"] and [i.data_type for i in small.graph.initializer] == [
        TensorProto.FLOAT16 if half else TensorProto.FLOAT
    ]
    assert np.array_equal(run(small, x), run(graph, x))


def test_no_ops_and_equals_go_and_what_nobody_reads() -> None:
    graph = model(
        helper.make_node("Cast", ["x"], ["same"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["same"], ["again"]),
        helper.make_node("Sin", ["again"], ["one"]),
        helper.make_node("Sin", ["x"], ["two"]),
        helper.make_node("Cos", ["x"], ["unread"]),
        helper.make_node("Cast", ["two"], ["other"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["other"], ["back"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["one", "back"], ["y"]),
        unused=np.ones(5, np.float32),
    )
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    small = folded(graph)
    assert kinds(small) == ["Sin", "Cast", "Cast", "Add"], "the casts round: they are no no-ops"
    assert not small.graph.initializer and np.array_equal(run(small, x), run(graph, x))


def test_explicit_quantisation_stays_though_a_weight_is_constant() -> None:
    graph = model(
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["q"], axis=0),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], axis=0),
        helper.make_node("MatMul", ["x", "dq"], ["y"]),
        w=np.eye(3, dtype=np.float32), scale=np.full(3, 0.01, np.float32), zero=np.zeros(3, np.int8),
    )  # fmt: skip
    assert kinds(folded(graph)) == ["QuantizeLinear", "DequantizeLinear", "MatMul"]


def test_an_index_is_not_widened() -> None:
    """Whoever gathers takes int32 as well; through a reshape, too. What computes with the wide one keeps it."""
    graph = model(
        helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.INT32),
        helper.make_node("Cast", ["narrow"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["wide", "flat"], ["index"]),
        helper.make_node("GatherElements", ["table", "index"], ["found"], axis=0),
        helper.make_node("Cast", ["narrow"], ["also"], to=TensorProto.INT64),
        helper.make_node("Mul", ["also", "also"], ["square"]),
        helper.make_node("Cast", ["square"], ["told"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["found", "shape"], ["whole"]),
        helper.make_node("Add", ["whole", "told"], ["y"]),
        table=np.arange(10, 16, dtype=np.float32),
        flat=np.array([6]),
        shape=np.array([2, 3]),
    )
    x = np.array([[5, 0, 3], [2, 2, 1]], np.float32)
    assert np.array_equal(run(folded(graph), x), run(graph, x)) and np.array_equal(run(graph, x), 10 + x + x * x)
    # Here both casts are the same, and one of the two is computed with: it stays.
    assert kinds(folded(graph)).count("Cast") == 3
    alone = [node for node in graph.graph.node if node.output[0] not in ("also", "square", "told")]
    del graph.graph.node[:]
    graph.graph.node.extend(alone)
    graph.graph.node[-1].input[1] = "x"
    small = folded(graph)
    assert kinds(small).count("Cast") == 1 and np.array_equal(run(small, x), 10 + 2 * x)


def test_a_constant_joins_the_bias_before_it() -> None:
    """Through a reshape that splits the last axis; not one along another axis."""
    bias, margin = np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)

    def chain(constant: np.ndarray, *, adds_axes: bool = False) -> onnx.ModelProto:
        return model(
            helper.make_node("MatMul", ["x", "weight"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["told"]),
            helper.make_node("Reshape", ["told", "apart"], ["split"]),
            helper.make_node("Add", ["split", "constant"], ["more"]),
            helper.make_node("ReduceMax", ["more"], ["y"], axes=[0, 2] if adds_axes else [1], keepdims=0),
            weight=np.arange(18, dtype=np.float32).reshape(3, 6) / 7, bias=np.tile(bias, 2), constant=constant,
            apart=np.array([2, 2, 3]),
        )  # fmt: skip

    x = np.array([[1, -2, 0.5], [3, 0.25, -1]], np.float32)
    graph = chain(margin)
    small = folded(graph)
    assert kinds(graph).count("Add") == 2 and kinds(small).count("Add") == 1
    assert np.allclose(run(small, x), run(graph, x), atol=1e-5)
    other = chain(np.array([[1], [5]], np.float32))
    assert kinds(folded(other)).count("Add") == 2
    assert kinds(folded(chain(np.array([[[[10, 20, 30]]]], np.float32), adds_axes=True))).count("Add") == 2
