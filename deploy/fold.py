"""A traced graph without what need not be computed every tick.

constants   what depends on no input (grids, masks, phases, shapes) is computed once, by ONNX Runtime
no-ops      Identity, casts to the type that is there, and of an index to a wider one
equals      of nodes that do the same to the same, one stays
sums        a constant that is added after a bias, joins it, though the last axis was split in between

ONNX Runtime's own offline optimiser is no use here: on a CPU it would write every FP16 operator as a cast, an FP32
operator and a cast back, and quantised weights without their QuantizeLinear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

OPSET = 17  # JetPack 6: ScatterND of opset 18 and GridSample of opset 20 are wrong there
IR_VERSION = 8  # the one that belongs to opset 17
# Explicit quantisation stays: compilers read scales and axes off these nodes.
KEPT = ("QuantizeLinear", "DequantizeLinear")
GATHERS, RESHAPES = ("Gather", "GatherElements"), ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function, folded until nothing more folds.

    Raises:
        onnx.shape_inference.InferenceError: the graph's shapes contradict each other.
    """
    count = -1
    while count != len(model.graph.node):
        count = len(model.graph.node)
        # With every shape known, what is computed from shapes folds, too. Data propagation would take an Add of [n, 1]
        # and [m] for one of shapes, and refuse it.
        del model.graph.value_info[:]  # what an earlier round could not tell would stay unknown
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        _compute_constants(model.graph)
        _drop_no_ops(model.graph)
        _merge_equals(model.graph)
        _join_sums(model.graph)
    _drop_unused(model.graph)
    return model


def _compute_constants(graph: onnx.GraphProto) -> None:
    shapes = {v.name: _shape(v) for v in (*graph.input, *graph.value_info)}
    known = {i.name: i for i in graph.initializer}
    computed: list[onnx.NodeProto] = []
    rest: list[onnx.NodeProto] = []
    constant = set(known)
    for node in graph.node:
        if node.op_type == "Constant":
            found = numpy_helper.from_array(_value(node), node.output[0])
            graph.initializer.append(found)
            known[found.name] = found
            constant.add(found.name)
        elif node.op_type == "Shape" and (shape := shapes.get(node.input[0])) is not None:
            start, end = (_attributes(node).get(name) for name in ("start", "end"))
            found = numpy_helper.from_array(np.array(shape[start or 0 : end], np.int64), node.output[0])
            graph.initializer.append(found)
            known[found.name] = found
            constant.add(found.name)
        elif node.op_type not in KEPT and all(name in constant for name in node.input if name):
            computed.append(node)
            constant.update(node.output)
        else:
            rest.append(node)
    ends = {o.name for o in graph.output} | {name for node in rest for name in node.input}
    wanted = [name for node in computed for name in node.output if name in ends]
    graph.initializer.extend(_run(computed, wanted, known))
    _replace(graph.node, rest)


def _run(nodes: list[onnx.NodeProto], wanted: list[str], known: dict[str, onnx.TensorProto]) -> list[onnx.TensorProto]:
    """What these nodes make of constants."""
    if not wanted:
        return []
    used = {name for node in nodes for name in node.input}
    graph = onnx.GraphProto(name="constants", node=nodes, initializer=[known[n] for n in known if n in used])
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    part = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(wanted, {})
    return [numpy_helper.from_array(np.asarray(v), name) for name, v in zip(wanted, values, strict=True)]


def _drop_no_ops(graph: onnx.GraphProto) -> None:
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info)}
    outputs, rest = {o.name for o in graph.output}, []
    indices = _indices(graph) - outputs
    stands_for: dict[str, str] = {}
    for node in graph.node:
        _rename(node, stands_for)
        no_op = node.op_type == "Identity" or (
            node.op_type == "Cast"
            and (
                types.get(node.input[0]) == _attributes(node)["to"]
                or (node.output[0] in indices and types.get(node.input[0]) == onnx.TensorProto.INT32)
            )
        )
        if no_op and node.output[0] not in outputs:
            stands_for[node.output[0]] = node.input[0]
        else:
            rest.append(node)
    _replace(graph.node, rest)


def _indices(graph: onnx.GraphProto) -> set[str]:
    """Tensors that nothing reads but gathers, as their index: int32 does as well as int64. Reshapes in between are
    looked through."""
    only: dict[str, bool] = {}
    for node in reversed(graph.node):
        for position, name in enumerate(node.input):
            reads = (node.op_type in GATHERS and position == 1) or (
                node.op_type in RESHAPES and position == 0 and only.get(node.output[0], False)
            )
            only[name] = only.get(name, True) and reads
    return {name for name, is_index in only.items() if is_index}


def _merge_equals(graph: onnx.GraphProto) -> None:
    outputs, rest = {o.name for o in graph.output}, []
    stands_for: dict[str, str] = {}
    first: dict[bytes, onnx.NodeProto] = {}
    constants: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    for tensor in graph.initializer:
        value = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        stands_for[tensor.name] = constants.setdefault(value, tensor.name)
    for node in graph.node:
        _rename(node, stands_for)
        key = onnx.NodeProto(op_type=node.op_type, input=node.input, attribute=node.attribute)
        kept = first.setdefault(key.SerializeToString(deterministic=True), node)
        if kept is node or outputs & set(node.output):
            rest.append(node)
        else:
            stands_for.update(zip(node.output, kept.output, strict=True))
    _replace(graph.node, rest)


def _join_sums(graph: onnx.GraphProto) -> None:
    """Add(Reshape(Add(x, b)), c), b along the last axis and c along the last part of it, is Reshape(Add(x, b + c)): one
    pass less over what may be large."""
    known = {i.name: i for i in graph.initializer}
    shapes = {v.name: _shape(v) for v in graph.value_info}
    made_by = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    outputs = {o.name for o in graph.output}
    readers.update(outputs)
    stands_for: dict[str, str] = {}
    for node in graph.node:
        _rename(node, stands_for)
        split, constant = _sum(node, known)
        reshape = made_by.get(split)
        if constant is None or reshape is None or reshape.op_type != "Reshape" or readers[split] != 1:
            continue
        if node.output[0] in outputs:
            continue
        bias = made_by.get(reshape.input[0])
        summed, vector = ("", None) if bias is None else _sum(bias, known)
        if bias is None or vector is None or not summed or readers[bias.output[0]] != 1:
            continue
        whole, part = vector.shape[-1], constant.shape[-1]
        into = shapes.get(split)
        if into is None or into[-1] != part or whole % part or not _along_last(vector, constant):
            continue
        if constant.ndim > len(into):  # it would add axes
            continue
        joined = numpy_helper.from_array(vector + np.tile(constant.reshape(-1), whole // part), bias.output[0] + "_sum")
        graph.initializer.append(joined)
        bias.input[list(bias.input).index(next(n for n in bias.input if n in known))] = joined.name
        stands_for[node.output[0]] = split
    _replace(graph.node, [node for node in graph.node if node.output[0] not in stands_for])


def _sum(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> tuple[str, np.ndarray[Any, Any] | None]:
    """Of an Add of a tensor and a constant: the one's name, and the other."""
    constants = [name for name in node.input if name in known]
    if node.op_type != "Add" or len(constants) != 1:
        return "", None
    (other,) = (name for name in node.input if name not in known)
    return other, numpy_helper.to_array(known[constants[0]])


def _along_last(*vectors: np.ndarray[Any, Any]) -> bool:
    return all(v.ndim and v.size == v.shape[-1] for v in vectors)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Nodes that no output needs, constants that no node reads, and notes about tensors that are gone."""
    needed, rest = {o.name for o in graph.output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            rest.append(node)
    _replace(graph.node, reversed(rest))
    _replace(graph.initializer, [i for i in graph.initializer if i.name in needed])
    del graph.value_info[:]


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """None where it is not known whole."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def _value(constant: onnx.NodeProto) -> np.ndarray[Any, Any]:
    ((name, value),) = _attributes(constant).items()
    return numpy_helper.to_array(value) if name == "value" else np.asarray(value)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    for index, name in enumerate(node.input):
        node.input[index] = names.get(name, name)


def _replace(repeated: Any, items: Iterable[Any]) -> None:
    kept = list(items)
    del repeated[:]
    repeated.extend(kept)
