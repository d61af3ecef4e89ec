"""The least time that a graph can take on Jetson AGX Orin 64GB, computed from what it multiplies and moves.

Nothing here was measured. A bound: no kernel reaches the peak, and a launch costs microseconds that are not in it. It
tells which of the two limits a graph meets, arithmetic or memory, and below which time no optimisation goes.

Peaks of the GPU by power mode, the two DLAs apart:
    sparse INT8 171, 109, 41 and 14 TOPS at MAXN (60 W), 50, 30 and 15 W: NVIDIA, table of DL TOPS of Jetson AGX Orin
    64GB, https://github.com/NVIDIA/Deep-Learning-Accelerator-SW (README). Dense is half of sparse, FP16 half of INT8,
    and FP32 without tensor cores an eighth of FP16 (NVIDIA Jetson AGX Orin Series, technical brief v1.2: 5.3 TFLOPS
    FP32 of 2048 CUDA cores at 1.3 GHz, 85 TOPS dense INT8).
    204.8 GB/s of 256-bit LPDDR5 at 3200 MHz (same brief); at 15 W the memory runs at 2133 MHz at most (Jetson Linux
    Developer Guide, "Supported Modes and Power Efficiency" of Jetson AGX Orin).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import onnx

from calib.errors import InputError
from calib.files import write_text
from deploy.bench_macs import macs, static_shapes
from deploy.perception_spec import PERCEIVE, is_perception_export, read_perception_manifest
from deploy.spec import GATE, PRECISIONS, TICK, Manifest, read_manifest, tick_of

_DENSE_OF_SPARSE, _FP16_OF_INT8, _FP32_OF_INT8 = 1 / 2, 1 / 2, 1 / 16
_FULL_BANDWIDTH, _FULL_CLOCK = 204.8e9, 3200.0
_FLOAT_BYTES = {"fp32": 4, "fp16": 2, "int8": 2}  # of what is not an operand of a product
_OPERAND_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
_PRODUCTS = ("MatMul", "Gemm", "Conv")
# Of a frame on the car, what each stage is held to: ms, how often, and its graph; None: the host's own work.
BUDGET = (
    ("perception", 20.0, "12 Hz", PERCEIVE),
    ("world model", 8.0, "30 Hz", "gate + tick_256"),
    ("before and after them", 5.0, "30 Hz", None),
)


@dataclass(frozen=True)
class Mode:
    """A power mode of nvpmodel. sparse_int8: operations per second, as NVIDIA gives them. memory_mhz: at most."""

    name: str
    sparse_int8: float
    memory_mhz: float

    @property
    def bandwidth(self) -> float:
        """Bytes per second."""
        return _FULL_BANDWIDTH * self.memory_mhz / _FULL_CLOCK

    def peak(self, precision: str) -> float:
        """Operations per second, without sparsity; a multiply-accumulate is two."""
        int8 = self.sparse_int8 * _DENSE_OF_SPARSE
        return {"int8": int8, "fp16": int8 * _FP16_OF_INT8, "fp32": int8 * _FP32_OF_INT8}[precision]


MODES = (
    Mode("15 W", 14e12, 2133.0),
    Mode("30 W", 41e12, 3200.0),
    Mode("50 W", 109e12, 3200.0),
    Mode("60 W (MAXN)", 171e12, 3200.0),
)


class Traffic(NamedTuple):
    """Bytes. least: weights, inputs and outputs once, everything between stays on the chip. most: every operator reads
    its inputs and writes its outputs."""

    least: int
    most: int


class Bound(NamedTuple):
    """Seconds: of the arithmetic alone, and of the memory alone at least and at most traffic."""

    compute: float
    memory: float
    unfused: float

    @property
    def seconds(self) -> float:
        """The roofline: whichever is longer."""
        return max(self.compute, self.memory)

    @property
    def limit(self) -> str:
        return "arithmetic" if self.compute > self.memory else "memory"


def traffic(path: Path, precision: str) -> Traffic:
    """Of a graph as exported in fp32, if its floats were of `precision`; integers keep their size.

    Of int8 the operands of products take a byte each, all else is fp16: softmax, normalisation and the state.

    Raises:
        CheckFailed: a shape is unknown.
    """
    graph, shapes = static_shapes(path)
    kinds = {i.name: i.data_type for i in graph.initializer}
    kinds |= {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    operands = {name for node in graph.node if node.op_type in _PRODUCTS for name in node.input[:2]}

    def size(name: str) -> int:
        if kinds[name] != onnx.TensorProto.FLOAT:
            each = int(onnx.helper.tensor_dtype_to_np_dtype(kinds[name]).itemsize)
        else:
            each = (_OPERAND_BYTES if name in operands else _FLOAT_BYTES)[precision]
        return math.prod(shapes[name]) * each

    def sizes(names: Iterable[str]) -> int:
        return sum(size(name) for name in names if name)

    ends = {i.name for i in graph.initializer} | {v.name for v in (*graph.input, *graph.output)}
    return Traffic(sizes(ends), sum(sizes((*node.input, *node.output)) for node in graph.node))


def bound(multiplied: int, moved: Traffic, mode: Mode, precision: str) -> Bound:
    """
    Args:
        multiplied: multiply-accumulates.
    """
    return Bound(2 * multiplied / mode.peak(precision), moved.least / mode.bandwidth, moved.most / mode.bandwidth)


class Counted(NamedTuple):
    """Of a graph. macs: multiply-accumulates. traffic: by precision."""

    macs: int
    traffic: dict[str, Traffic]


def count(paths: Mapping[str, Path]) -> dict[str, Counted]:
    """By name of graph."""
    return {n: Counted(macs(p), {of: traffic(p, of) for of in PRECISIONS}) for n, p in paths.items()}


def graphs_of(bundle: Path, manifest: Manifest) -> dict[str, Path]:
    return {name: Path(bundle) / graph.file for name, graph in manifest.graphs.items()}


def steps_of(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """What a tick runs: gate and bucket for each bucket, or the one graph of the dense form."""
    if GATE not in manifest.graphs:
        return {TICK: (TICK,)}
    return {f"gate + {tick_of(k)}": (GATE, tick_of(k)) for k in manifest.config.model.gate.buckets}


def write_roofline(out: Path, bundles: Iterable[Path], command: str) -> None:
    """Writes OUT, a page for all bundles.

    Raises:
        InputError: a bundle is not one, or not of fp32: the bytes of the others follow from its tensors.
    """
    parts = [_HEADER.format(command=command)]
    bounds: dict[str, dict[str, tuple[float, float]]] = {}
    for bundle in bundles:
        if is_perception_export(bundle):
            told = read_perception_manifest(bundle)
            counted = count({PERCEIVE: Path(bundle) / told.graph.file})
            parts.append(_page(f"Perception (bundle {told.bundle_id})", {PERCEIVE: (PERCEIVE,)}, counted))
            bounds |= _bounds({PERCEIVE: (PERCEIVE,)}, counted)
            continue
        manifest = read_manifest(bundle)
        if manifest.precision != "fp32":
            raise InputError(
                f"a bundle of {manifest.precision}",
                expected="one of fp32",
                fix="export with fp32, which tells all",
                path=bundle,
            )
        counted, steps = count(graphs_of(bundle, manifest)), steps_of(manifest)
        title = f"{manifest.config.name}, {manifest.form} form (bundle {manifest.bundle_id})"
        parts.append(_page(title, steps, counted))
        bounds |= _bounds(steps, counted)
    parts.append(_budget(bounds))
    write_text(out, "\n".join(parts))


_HEADER = """# Roofline of Jetson AGX Orin 64GB

**Computed, not measured.** The least time of a tick from what its graphs multiply and move, and NVIDIA's peaks of the
GPU in each power mode (sources: [roofline.py](../../deploy/roofline.py)). No kernel reaches a peak, and launches, the
host's part are not in it. On an Orin nothing has been measured yet.

"least" is the longer of arithmetic (products of matrices, at the peak without sparsity) and of moving weights, state,
inputs and outputs once. "unfused" is the memory's time if every operator read and wrote all its tensors. A real engine
lies beyond the first; a good one, below the second. int8: operands of products in one byte, all else fp16.

    {command}
"""


def _bounds(
    steps: Mapping[str, tuple[str, ...]], counted: Mapping[str, Counted]
) -> dict[str, dict[str, tuple[float, float]]]:
    """Of each step in fp16, by power mode: least and unfused, ms."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for title, graphs in steps.items():
        for mode in MODES:
            each = [bound(counted[g].macs, counted[g].traffic["fp16"], mode, "fp16") for g in graphs]
            least, unfused = sum(b.seconds for b in each), sum(b.unfused for b in each)
            found.setdefault(title, {})[mode.name] = (1e3 * least, 1e3 * unfused)
    return found


def _budget(bounds: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """What each stage of a frame may take on the car, beside the bounds in fp16 of the graphs that were given."""
    rows = []
    for stage, allowed, rate, graph in BUDGET:
        computed = bounds.get(graph or "", {})
        cells = [f"{computed[m.name][0]:.2f} / {computed[m.name][1]:.1f}" if computed else "" for m in MODES]
        what = (stage, rate, f"{allowed:g} ms", graph or "the host", *cells, "not measured")
        rows.append(f"| {' | '.join(what)} |")
    modes = " | ".join(f"{mode.name}, ms" for mode in MODES)
    return "\n".join(
        [
            "## Budget of a frame",
            "",
            "fp16, least / unfused as above; the world model with the third of its buckets.",
            "",
            f"| stage | rate | allowed | graph | {modes} | on an Orin |",
            "|---|---|---:|---|" + "---:|" * len(MODES) + "---|",
            *rows,
            "",
        ]
    )


def _page(name: str, steps: Mapping[str, tuple[str, ...]], counted: Mapping[str, Counted]) -> str:
    rows = []
    for title, graphs in steps.items():
        multiplied = sum(counted[g].macs for g in graphs)
        for precision in PRECISIONS:
            each = [counted[g].traffic[precision] for g in graphs]
            moved = Traffic(sum(t.least for t in each), sum(t.most for t in each))
            cells = []
            for mode in MODES:
                bounds = [bound(counted[g].macs, counted[g].traffic[precision], mode, precision) for g in graphs]
                least, unfused = 1e3 * sum(b.seconds for b in bounds), 1e3 * sum(b.unfused for b in bounds)
                cells.append(f"{least:.2f} {bounds[-1].limit[0]} / {unfused:.1f}")
            figures = (f"{multiplied / 1e6:.0f}", f"{moved.least / 1e6:.1f} / {moved.most / 1e6:.0f}", *cells)
            rows.append(f"| {title} | {precision} | " + " | ".join(figures) + " |")
    modes = " | ".join(f"{mode.name}, ms" for mode in MODES)
    return "\n".join(
        [
            f"## {name}",
            "",
            "ms: least, where the tick is limited by (a)rithmetic or (m)emory / unfused.",
            "",
            f"| tick | precision | million MACs | MB, least / unfused | {modes} |",
            "|---|---|---:|---:|" + "---:|" * len(MODES),
            *rows,
            "",
        ]
    )
