"""A checkpoint becomes a bundle: static ONNX graphs for ONNX Runtime and TensorRT, their weights and its manifest."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from calib.errors import CheckFailed, InputError
from deploy.bundle_files import new_export, sha256_of
from deploy.calibration import CALIBRATION_FILE, FRAMES, Calibration, choose_calibration, chosen_ticks, run_ticks
from deploy.fold import IR_VERSION, OPSET, folded
from deploy.graphs import Graph, graphs_of
from deploy.half import in_half
from deploy.limits import LIMITS
from deploy.noise import Noise, with_noise
from deploy.quantize import check_quantized, quantized, quantized_layers, settle_weights
from deploy.spec import FORMS, PRECISIONS, WEIGHTS_FILE, GraphSpec, Manifest, TensorSpec
from deploy.torch_runtime import weights_digest
from deploy.tracing import ShapesAlone
from genie.model import GenieDrive
from genie.training.checkpoint import load_weights, read_checkpoint, save_checkpoint

MAX_TOPK = 3840  # TensorRT's
# Control flow stops CUDA graphs; the sizes of NonZero are dynamic; ScatterElements is slow (ScatterND is not).
FORBIDDEN = ("If", "Loop", "Scan", "NonZero", "ScatterElements", "RandomNormal", "RandomUniform")


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    folder: Path
    manifest: Manifest


def export(
    checkpoint: Path,
    folder: Path,
    form: str = "gated",
    precision: str = "fp32",
    calibration: Path | None = None,
    calibration_frames: int = FRAMES,
    noise: Noise | None = None,
) -> Exported:
    """Writes the bundle of a checkpoint.

    Args:
        form: "gated", or "dense": its twin, which computes every column every tick.
        precision: "fp32"; "fp16" and "int8" of the gated form, which is the one for the car.
        calibration: data root whose frames show INT8 the ranges of activations. calibration_frames: how many of them.
        noise: for occupancy that is perceived: what its gate is not to be surprised by. The bundle's config tells it.

    Raises:
        InputError: the checkpoint cannot be read, no such form or precision, int8 without calibration data, or `folder`
            holds something else than an export.
        CheckFailed: a graph has something that TensorRT or CUDA graphs refuse.
    """
    check_precision(precision, calibration)
    _check_form(form, precision)
    chosen = choose_calibration(calibration, calibration_frames) if precision == "int8" else None
    loaded = read_checkpoint(checkpoint)
    model = GenieDrive(loaded.config.model).eval()
    load_weights(model, loaded, checkpoint)
    model = model if noise is None else with_noise(model, noise.words)
    config = replace(loaded.config, model=model.config)
    with new_export(folder) as fresh:
        exported = in_precision(model, precision, chosen)
        graphs = {graph.name: write_graph(graph, fresh) for graph in graphs_of(exported, form)}
        save_checkpoint(fresh / WEIGHTS_FILE, model, config, loaded.step)
        manifest = Manifest(
            form=form,
            graphs=graphs,
            opset=OPSET,
            weights_sha256=weights_digest(model),
            config=config,
            step=loaded.step,
            versions={"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
            precision=precision,
            calibration_sha256=chosen.write(fresh / CALIBRATION_FILE) if chosen else None,
            limits=LIMITS[precision],
        )
        manifest.write(fresh)
    return Exported(Path(folder), manifest)


def check_precision(precision: str, calibration: Path | None) -> None:
    """Raises InputError for a precision that there is not, or one that measures no ranges with data to measure them."""
    _check_choice("precision", precision, PRECISIONS)
    if precision != "int8" and calibration is not None:
        raise InputError(
            f"calibration data for {precision}", expected="none: it has no ranges to measure", fix="leave it out"
        )


def _check_form(form: str, precision: str) -> None:
    _check_choice("form", form, FORMS)
    if form == "dense" and precision != "fp32":
        raise InputError(
            f"the dense form in {precision}",
            expected="fp32: the dense twin is what the gated form is measured against",
            fix="leave --form or --precision out",
        )


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{what} {value!r}", expected=f"one of {', '.join(choices)}", fix="choose one of these")


def in_precision(model: GenieDrive, precision: str, chosen: Calibration | None) -> GenieDrive:
    """The model as its graphs compute; the same one for fp32."""
    if precision == "fp16":
        return in_half(model)
    return model if chosen is None else quantized(model, lambda copied: run_ticks(copied, chosen_ticks(model, chosen)))


def write_graph(graph: Graph, folder: Path) -> GraphSpec:
    """Traces, folds, checks and writes folder/NAME.onnx."""
    traced, path = folder / "traced.onnx", folder / f"{graph.name}.onnx"
    trace(graph, traced)
    written = fold(traced, path)
    traced.unlink()
    check_graph(written)
    check_quantized(written.graph, len(quantized_layers(graph.module)))
    ends = written.graph
    return GraphSpec(path.name, sha256_of(path), _specs(ends.input), _specs(ends.output), operators(written))


def trace(graph: Graph, path: Path) -> None:
    """As torch traces it; every shape is static, the state comes and goes as inputs and outputs."""
    # Quantisers want their ranges as constants of the trace, which another dispatcher would hide from it, as it hides
    # convolutions.
    convolves = any(isinstance(part, torch.nn.Conv2d) for part in graph.module.modules())
    plain = convolves or bool(quantized_layers(graph.module))
    module = graph.module.eval() if plain else ShapesAlone(graph.module.eval())
    with torch.inference_mode(), warnings.catch_warnings():
        # The tracer warns of each Python number that it takes for constant; static shapes are what is wanted here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            # Copies, so that no two inputs share memory and none can be taken for a constant.
            tuple(tensor.clone() for tensor in graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamo=False,
        )


def fold(traced: Path, path: Path) -> onnx.ModelProto:
    """Computes what depends on no input. Writes and returns the result."""
    graph = folded(onnx.load(str(traced)))
    settle_weights(graph.graph)
    graph.ir_version = IR_VERSION
    onnx.save(graph, str(path))
    return graph


def operators(graph: onnx.ModelProto) -> dict[str, int]:
    """How many nodes of each kind."""
    return dict(sorted(Counter(node.op_type for node in graph.graph.node).items()))


def check_graph(graph: onnx.ModelProto) -> None:
    """Raises CheckFailed, with every reason, for a graph that TensorRT or CUDA graphs would refuse."""
    onnx.checker.check_model(graph, full_check=True)
    wrong = [
        f"opset {o.domain or 'ai.onnx'} {o.version}" for o in graph.opset_import if (o.domain, o.version) != ("", OPSET)
    ]
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.graph.initializer}
    for node in graph.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in FORBIDDEN or node.domain:
            wrong.append(f"{node.op_type} ({node.name})")
        if node.op_type == "ScatterND" and attributes.get("reduction", b"none") != b"none":
            wrong.append(f"ScatterND with a reduction ({node.name})")
        if node.op_type == "TopK" and not _is_topk_of_tensorrt(node, attributes, constants):
            wrong.append(f"TopK that is unsorted, of unknown k, or of k > {MAX_TOPK} ({node.name})")
    for end in [*graph.graph.input, *graph.graph.output]:
        if any(not d.HasField("dim_value") for d in end.type.tensor_type.shape.dim):
            wrong.append(f"a dynamic shape ({end.name})")
    if wrong:
        raise CheckFailed("the graph cannot be deployed: " + "; ".join(wrong))


def _is_topk_of_tensorrt(node: onnx.NodeProto, attributes: dict[str, Any], constants: dict[str, Any]) -> bool:
    k = constants.get(node.input[1])
    return k is not None and int(k.item()) <= MAX_TOPK and attributes.get("sorted", 1) == 1


def _specs(ends: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            end.name,
            onnx.helper.tensor_dtype_to_np_dtype(end.type.tensor_type.elem_type).name,
            tuple(d.dim_value for d in end.type.tensor_type.shape.dim),
        )
        for end in ends
    )
