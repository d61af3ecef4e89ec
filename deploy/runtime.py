"""Runs the exported graphs of a tick. The state stays in the runtime: two sets of buffers that swap after each tick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from calib.errors import InputError
from deploy.bundle_files import verify_bundle
from deploy.graph_runtime import Array, GraphRuntime, Runtime, check_ends, tensors
from deploy.spec import STATE_IN, STATE_OUT, GraphSpec, TensorSpec

BACKENDS = {"ort": "ONNX Runtime, CPU", "trt": "TensorRT, GPU"}
_STATE = (STATE_IN, STATE_OUT)
_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32", "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}  # fmt: skip


def open_runtime(bundle: Path, backend: str = "ort", *, threads: int = 2) -> GraphRuntime:
    """
    Args:
        backend: one of BACKENDS.
        threads: of ONNX Runtime; a GPU has its own.

    Raises:
        InputError: no such backend, or it is not installed here; the bundle is not whole; an engine is missing or was
            built for something else.
    """
    if backend == "ort":
        return OnnxRuntime(bundle, threads=threads)
    if backend == "trt":
        from deploy.runtime_trt import open_tensorrt

        return open_tensorrt(bundle)
    raise InputError(f"backend {backend!r}", expected=f"one of {', '.join(BACKENDS)}", fix="choose one of these")


class OnnxRuntime(GraphRuntime):
    """ONNX Runtime on the CPU. All buffers are allocated once and bound once; all graphs share them."""

    def __init__(self, bundle: Path, *, threads: int = 2) -> None:
        """
        Raises:
            InputError: the bundle is not whole, or a graph has other inputs or outputs than its manifest.
        """
        manifest = verify_bundle(bundle)
        super().__init__(manifest, TensorSpec.empty)
        sessions = {name: open_session(Path(bundle) / g.file, g, threads) for name, g in manifest.graphs.items()}
        self._states = [{name: spec.empty() for name, spec in manifest.state().items()} for _ in range(2)]
        between = [s for n, s in tensors(manifest).items() if n not in self._host]
        self._buffers = self._host | {s.name: s.empty() for s in between if not s.name.startswith(_STATE)}
        self._bound = {
            name: (session, [self._bind(session, manifest.graphs[name], old, 1 - old) for old in range(2)])
            for name, session in sessions.items()
        }

    def state(self) -> dict[str, Array]:
        return self._states[self._newest]

    def adopt(self, other: Runtime) -> None:
        for name, array in other.state().items():
            self._states[self._newest][name][...] = array
        self._bucket = other.bucket()

    def _forget_state(self) -> None:
        for buffer in self._states[self._newest].values():
            buffer.fill(0)

    def _run(self, graph: str) -> None:
        session, bindings = self._bound[graph]
        session.run_with_iobinding(bindings[self._newest])

    def _bind(
        self, session: onnxruntime.InferenceSession, graph: GraphSpec, old: int, new: int
    ) -> onnxruntime.IOBinding:
        binding = session.io_binding()
        for spec in graph.inputs:
            array = self._array(spec.name, STATE_IN, self._states[old])
            binding.bind_ortvalue_input(spec.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for spec in graph.outputs:
            array = self._array(spec.name, STATE_OUT, self._states[new])
            binding.bind_ortvalue_output(spec.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        return binding

    def _array(self, name: str, prefix: str, state: dict[str, Array]) -> Array:
        return state[name[len(prefix) :]] if name.startswith(prefix) else self._buffers[name]


def open_session(path: Path, graph: GraphSpec, threads: int) -> onnxruntime.InferenceSession:
    """As every graph of a tick is run.

    Raises:
        InputError: the file has other inputs or outputs than `graph` says.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning thread keeps a core from the rest of the car's software between two ticks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A product with its bias fused has no INT8 kernel here unless its output is quantised, too: it would run in FP32.
    without = ["MatMulAddFusion"] if "QuantizeLinear" in graph.operators else []
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=without
    )
    check_ends("inputs", _specs(session.get_inputs()), graph.inputs, path)
    check_ends("outputs", _specs(session.get_outputs()), graph.outputs, path)
    return session


def _specs(nodes: list[Any]) -> list[TensorSpec]:
    return [TensorSpec(n.name, _DTYPES.get(n.type, n.type), tuple(n.shape)) for n in nodes]
