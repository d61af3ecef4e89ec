"""TensorRT on the GPU. The state never leaves the device: two sets that the engines read and write in turns.

Each graph of the bundle has one engine, one execution context and, for each of the two directions, one CUDA graph, in
which are: the uploads that no graph before it made, the engine, the downloads of what the host wants of it. So a gated
tick is two launches, gate and bucket, and the host waits twice: for one integer, and for the forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.errors import InputError
from deploy.bundle_files import verify_bundle
from deploy.engine import engine_path, load_plan, load_tensorrt, target_of
from deploy.engine_stamp import BUILD
from deploy.graph_runtime import Array, GraphRuntime, Runtime, check_ends, tensors
from deploy.runtime_cuda import CapturedGraph, Gpu, open_gpu
from deploy.spec import GATE, STATE_IN, STATE_OUT, GraphSpec, TensorSpec

if TYPE_CHECKING:
    import tensorrt


@dataclass
class _Step:
    """One graph of the bundle. engine: is alive as long as its context is used. uploads, downloads: names.
    captured: for each set that may hold the newest state; None before the first run on it."""

    spec: GraphSpec
    engine: tensorrt.ICudaEngine
    context: tensorrt.IExecutionContext
    uploads: list[str]
    downloads: list[str]
    captured: list[CapturedGraph | None] = field(default_factory=lambda: [None, None])


class TensorRtRuntime(GraphRuntime):
    """See deploy.graph_runtime.Runtime. Any thread may call, one at a time."""

    def __init__(self, bundle: Path, api: ModuleType, gpu: Gpu) -> None:
        """
        Args:
            api: the module tensorrt.

        Raises:
            InputError: the bundle is not whole, or an engine is missing, was built for something else or has other
                inputs or outputs than the manifest.
        """
        manifest = verify_bundle(bundle)
        self._gpu = gpu
        with gpu.current():
            super().__init__(manifest, gpu.pinned)
            specs, self._state_specs = tensors(manifest), manifest.state()
            self._states = [{n: gpu.memory(s) for n, s in self._state_specs.items()} for _ in range(2)]
            self._memory = {n: gpu.memory(s) for n, s in specs.items() if not n.startswith((STATE_IN, STATE_OUT))}
            self._engines: tensorrt.Runtime = api.Runtime(api.Logger(api.Logger.ERROR))
            target = target_of(api, gpu)
            self._steps: dict[str, _Step] = {}
            for name, graph in manifest.graphs.items():
                plan = load_plan(bundle, manifest, graph, target)
                self._steps[name] = self._step(name, graph, plan, engine_path(bundle, graph), api)

    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._gpu.current():
            return super().tick(inputs)

    def warm_up(self) -> None:
        """Also captures every graph."""
        with self._gpu.current():
            super().warm_up()

    def state(self) -> dict[str, Array]:
        """Copies: it is on the device."""
        with self._gpu.current():
            newest = self._states[self._newest]
            return {name: self._gpu.read(newest[name], spec) for name, spec in self._state_specs.items()}

    def adopt(self, other: Runtime) -> None:
        with self._gpu.current():
            for name, array in other.state().items():
                self._gpu.write(self._states[self._newest][name], array)
        self._bucket = other.bucket()

    def _forget_state(self) -> None:
        with self._gpu.current():
            for name, spec in self._state_specs.items():
                self._gpu.clear(self._states[self._newest][name], spec.nbytes)

    def _run(self, graph: str) -> None:
        """The first run on each of the two sets is queued piece by piece, and captured for all others: TensorRT sets
        itself up in a first run, which cannot be captured."""
        step = self._steps[graph]
        captured = step.captured[self._newest]
        if captured is not None:
            self._gpu.launch(captured)
            self._gpu.synchronize()
            return
        self._bind(step)
        self._queue(step)
        self._gpu.synchronize()
        step.captured[self._newest] = self._gpu.capture(lambda: self._queue(step))

    def _queue(self, step: _Step) -> None:
        for name in step.uploads:
            self._gpu.upload(self._memory[name], self._host[name])
        if not step.context.execute_async_v3(self._gpu.stream.handle):
            raise RuntimeError(f"TensorRT could not queue {step.spec.file}")
        for name in step.downloads:
            self._gpu.download(self._host[name], self._memory[name])

    def _bind(self, step: _Step) -> None:
        """The addresses of this direction: from the newest state to the other set."""
        old, new = self._states[self._newest], self._states[1 - self._newest]
        for spec in (*step.spec.inputs, *step.spec.outputs):
            memory = self._memory.get(spec.name)
            if memory is None:
                state = old if spec.name.startswith(STATE_IN) else new
                memory = state[spec.name.partition(".")[2]]
            step.context.set_tensor_address(spec.name, int(memory))

    def _step(self, name: str, graph: GraphSpec, plan: bytes, path: Path, api: ModuleType) -> _Step:
        engine: tensorrt.ICudaEngine | None = self._engines.deserialize_cuda_engine(plan)
        if engine is None:
            raise InputError("TensorRT cannot load it", expected="an engine of this TensorRT", fix=BUILD, path=path)
        found = {s.name: s for s in (_spec_of(engine, i, api) for i in range(engine.num_io_tensors))}
        wanted = (*graph.inputs, *graph.outputs)
        check_ends("inputs or outputs", [found[s.name] for s in wanted if s.name in found], wanted, path)
        before = {s.name for s in self.manifest.graphs[GATE].inputs} if GATE in self.manifest.graphs else set()
        given = [s.name for s in graph.inputs if s.name in self._host]
        uploads = [n for n in given if name == GATE or n not in before]
        downloads = [s.name for s in graph.outputs if s.name in self._host]
        return _Step(graph, engine, engine.create_execution_context(), uploads, downloads)


def open_tensorrt(bundle: Path) -> TensorRtRuntime:
    """On the GPU of this machine.

    Raises:
        InputError: as TensorRtRuntime; or TensorRT, pycuda or a GPU is missing.
    """
    return TensorRtRuntime(bundle, load_tensorrt(), open_gpu())


def _spec_of(engine: tensorrt.ICudaEngine, index: int, api: Any) -> TensorSpec:
    name = engine.get_tensor_name(index)
    dtype, shape = api.nptype(engine.get_tensor_dtype(name)), engine.get_tensor_shape(name)
    return TensorSpec(name, np.dtype(dtype).name, tuple(shape[i] for i in range(len(shape))))
