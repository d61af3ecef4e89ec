"""INT8 by explicit Q/DQ: NVIDIA ModelOpt measures the ranges and writes QuantizeLinear and DequantizeLinear before both
inputs of every Linear and Conv. Symmetric, zero point 0; weights per channel, activations per tensor.

What is FP32 stays so: attention's own products, softmax, LayerNorm, the change gate, all that indexes the grid, and the
layers that are named as kept.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from calib.errors import CheckFailed, InputError

# Names of layers, as ModelOpt matches them. Measured in docs/benchmarks/precision.md.
KEPT_FP32 = (
    "gate.*",  # the scorer decides what is computed
    "motion.*",  # in INT8 it moves objects by up to 1.5 m in 3 s, twice what it corrects on average, to save nothing
    "trajectory.*",  # in INT8 it moves the ego by 0.35 m in 3 s on average, and by up to 7 m
    "invention.offset.*",  # computed once, when the graph is folded
)


Network = TypeVar("Network", bound=nn.Module)


def quantized(model: Network, calibrate: Callable[[Network], None], kept: Sequence[str] = KEPT_FP32) -> Network:
    """A copy with quantisers.

    Args:
        calibrate: runs it on what shows the ranges of all activations.
        kept: names of layers that stay in FP32, as ModelOpt matches them.

    Raises:
        InputError: ModelOpt is not installed.
        CheckFailed: a layer that was to be quantised has seen nothing.
    """
    quantization = _modelopt()
    copied = copy.deepcopy(model).eval()

    config = {
        "quant_cfg": {
            "*weight_quantizer": {"num_bits": 8, "axis": 0},
            "*input_quantizer": {"num_bits": 8, "axis": None},
            **{name: {"enable": False} for name in (*kept, "default")},
        },
        "algorithm": "max",
    }
    # It tells on stdout what it inserts.
    with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: Network = quantization.quantize(copied, config, calibrate)
    blind = [name for name, layer in quantized_layers(result).items() if layer.input_quantizer.amax is None]
    if blind:
        raise CheckFailed(f"calibration never ran {', '.join(blind)}")
    return result


def _modelopt() -> Any:
    try:
        # Importing it warns of every optional package that is not there.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from modelopt.torch import quantization
    except ImportError as error:
        raise InputError(
            f"ModelOpt cannot be imported ({error})",
            expected="nvidia-modelopt, which measures the ranges of INT8",
            fix="pip install 'geniedrive[deploy]'",
        ) from error
    return quantization


def quantized_layers(model: nn.Module) -> dict[str, Any]:
    """Layers with both inputs quantised, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if (quantizer := getattr(module, "weight_quantizer", None)) is not None and quantizer.is_enabled
    }


def settle_weights(graph: onnx.GraphProto) -> None:
    """Turns quantised weights once instead of every tick: W -> Q -> DQ -> Transpose becomes W' -> Q -> DQ. Compilers
    then find the DequantizeLinear right before the product."""
    maker = {output: node for node in graph.node for output in node.output}
    weights = {i.name: i for i in graph.initializer}
    for turn in [node for node in graph.node if node.op_type == "Transpose"]:
        dequantize = maker.get(turn.input[0])
        quantize = maker.get(dequantize.input[0]) if dequantize and dequantize.op_type == "DequantizeLinear" else None
        if dequantize is None or quantize is None or quantize.input[0] not in weights:
            continue
        turned = numpy_helper.to_array(weights[quantize.input[0]]).T
        weights[quantize.input[0]].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(turned), quantize.input[0]))
        for node in (quantize, dequantize):
            (axis,) = (a for a in node.attribute if a.name == "axis")
            axis.i = turned.ndim - 1 - axis.i
        dequantize.output[0] = turn.output[0]
        graph.node.remove(turn)


def check_quantized(graph: onnx.GraphProto, layers: int) -> None:
    """Raises CheckFailed unless `layers` weights are quantised, per channel, and each is multiplied with a quantised
    activation."""
    maker = {output: node for node in graph.node for output in node.output}
    constants = {i.name: i for i in graph.initializer}
    scales, wrong = set(), []
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        quantisers = [_quantizer(name, maker) for name in node.input[:2]]
        weight = next((q for q in quantisers if q is not None and q.input[0] in constants), None)
        if weight is None:
            if any(quantisers):
                wrong.append(f"{node.name} multiplies a quantised activation with something else than a weight")
            continue
        scales.add((weight.input[0], weight.input[1]))
        if not all(quantisers):
            wrong.append(f"{node.name} has a weight in INT8 and an activation that is not")
        if numpy_helper.to_array(constants[weight.input[1]]).ndim != 1:
            wrong.append(f"{node.name} has one scale for all channels")
    if len(scales) != layers:
        wrong.append(f"{len(scales)} layers are quantised, {layers} were calibrated")
    if wrong:
        raise CheckFailed("not INT8 throughout: " + "; ".join(wrong))


def _quantizer(name: str, maker: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The QuantizeLinear behind the DequantizeLinear that makes this tensor."""
    node = maker.get(name)
    if node is None or node.op_type != "DequantizeLinear":
        return None
    quantize = maker.get(node.input[0])
    return quantize if quantize is not None and quantize.op_type == "QuantizeLinear" else None
