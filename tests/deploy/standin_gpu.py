"""STAND-IN for tensorrt, pycuda.driver and libcuda, for a machine without a GPU. No test of speed or of numerics.

It records what is asked of a GPU and obeys the rules that a real one punishes late or never:
    what is queued on a stream runs when somebody waits for it, not before, so that a missing wait shows in the results
    an asynchronous copy wants pinned memory
    what is queued during a capture is in the graph and does not run; nothing may be waited for meanwhile
    a first run of an execution context cannot be captured
    no call is allowed in a thread where no context is current
Its "engine" is the ONNX file itself, and it computes with ONNX Runtime, so that the outputs are real.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from deploy.runtime_cuda import DRIVER_LIBRARY

Work = Callable[[], None]
TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}


def at(address: int, nbytes: int) -> np.ndarray[Any, Any]:
    """Memory as bytes."""
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)


class Stream:
    """Queued work, or a capture under way."""

    def __init__(self, gpu: StandInGpu) -> None:
        self.gpu, self.handle = gpu, id(self)
        self.queued: list[Work] = []
        self.capturing: list[Work] | None = None
        gpu.streams[self.handle] = self

    def queue(self, work: Work) -> None:
        self.gpu.check_current()
        (self.queued if self.capturing is None else self.capturing).append(work)

    def synchronize(self) -> None:
        self.gpu.check_current()
        assert self.capturing is None, "a wait inside a capture"
        self.gpu.calls.append("wait")
        while self.queued:
            self.queued.pop(0)()


class DeviceMemory:
    def __init__(self, gpu: StandInGpu, nbytes: int) -> None:
        gpu.check_current()
        # Never what a program may hope for.
        self.content = np.full(nbytes, 0xA5, np.uint8)

    def __int__(self) -> int:
        return self.content.ctypes.data


class StandInGpu:
    """calls: what was asked, in order: "build FILE", "run" (an engine queued by itself), "capture", "launch", "wait".
    refuses: what the parser says of every graph, or nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refuses = ""
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.destroyed: list[int] = []
        self.pinned: set[int] = set()
        self.sessions: dict[bytes, onnxruntime.InferenceSession] = {}
        self._current = threading.local()
        self._handles = itertools.count(1)
        self.pycuda_driver = self._pycuda()
        self.libcuda = self._libcuda()
        self.tensorrt = self._tensorrt()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the place of the real ones, for as long as a test takes."""
        pycuda: Any = ModuleType("pycuda")
        pycuda.driver = self.pycuda_driver
        modules = {"pycuda": pycuda, "pycuda.driver": self.pycuda_driver, "tensorrt": self.tensorrt}
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        load = ctypes.CDLL
        monkeypatch.setattr(
            ctypes, "CDLL", lambda name, *more: self.libcuda if name == DRIVER_LIBRARY else load(name, *more)
        )

    def check_current(self) -> None:
        assert getattr(self._current, "depth", 0) > 0, "no context is current in this thread"

    def _pycuda(self) -> ModuleType:
        def push() -> None:
            self._current.depth = getattr(self._current, "depth", 0) + 1

        def pop() -> None:
            self.check_current()
            self._current.depth -= 1

        def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
            array = np.zeros(shape, dtype)
            self.pinned.add(array.ctypes.data)
            return array

        def queue_copy(to: Callable[[], Any], source: Callable[[], Any], pinned: Any, stream: Stream) -> None:
            assert pinned.ctypes.data in self.pinned, "an asynchronous copy of memory that is not pinned"
            stream.queue(lambda: np.copyto(to(), source()))

        def htod_async(memory: DeviceMemory, array: Any, stream: Stream) -> None:
            queue_copy(lambda: memory.content, lambda: array.reshape(-1).view(np.uint8), array, stream)

        def dtoh_async(array: Any, memory: DeviceMemory, stream: Stream) -> None:
            queue_copy(lambda: array.reshape(-1).view(np.uint8), lambda: memory.content, array, stream)

        def htod(memory: DeviceMemory, array: Any) -> None:
            self.check_current()
            memory.content[...] = array.reshape(-1).view(np.uint8)

        def dtoh(array: Any, memory: DeviceMemory) -> None:
            self.check_current()
            array.reshape(-1).view(np.uint8)[...] = memory.content

        def clear(memory: DeviceMemory, value: int, nbytes: int, stream: Stream) -> None:
            stream.queue(lambda: memory.content[:nbytes].fill(value))

        device = SimpleNamespace(
            name=lambda: "STAND-IN",
            compute_capability=lambda: (8, 7),
            retain_primary_context=lambda: SimpleNamespace(push=push),
        )
        module: Any = ModuleType("pycuda.driver")
        module.init, module.Device, module.Context = (lambda: None), (lambda index: device), SimpleNamespace(pop=pop)
        module.Error = type("Error", (Exception,), {})
        module.get_driver_version = lambda: 12060
        module.mem_get_info = lambda: (40 << 30, 64 << 30)
        module.Stream, module.mem_alloc = (lambda: Stream(self)), (lambda nbytes: DeviceMemory(self, nbytes))
        module.pagelocked_zeros, module.memset_d8_async = zeros, clear
        module.memcpy_htod_async, module.memcpy_dtoh_async = htod_async, dtoh_async
        module.memcpy_htod, module.memcpy_dtoh = htod, dtoh
        return module

    def _libcuda(self) -> SimpleNamespace:
        """Handles as ctypes passes them; 0 is success."""

        def begin(stream: ctypes.c_void_p, mode: int) -> int:
            self.streams[stream.value or 0].capturing = []
            return 0

        def end(stream: ctypes.c_void_p, graph: Any) -> int:
            found = self.streams[stream.value or 0]
            graph._obj.value = next(self._handles)
            self.graphs[graph._obj.value], found.capturing = found.capturing or [], None
            self.calls.append("capture")
            return 0

        def instantiate(ready: Any, graph: ctypes.c_void_p, flags: ctypes.c_ulonglong) -> int:
            ready._obj.value = next(self._handles)
            self.graphs[ready._obj.value] = self.graphs[graph.value or 0]
            return 0

        def destroy(graph: ctypes.c_void_p) -> int:
            del self.graphs[graph.value or 0]
            self.destroyed.append(graph.value or 0)
            return 0

        def launch(graph: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
            self.calls.append("launch")
            for work in self.graphs[graph.value or 0]:
                self.streams[stream.value or 0].queue(work)
            return 0

        return SimpleNamespace(
            cuStreamBeginCapture_v2=begin,
            cuStreamEndCapture=end,
            cuGraphInstantiateWithFlags=instantiate,
            cuGraphDestroy=destroy,
            cuGraphExecDestroy=destroy,
            cuGraphLaunch=launch,
        )

    def _tensorrt(self) -> ModuleType:
        module: Any = ModuleType("tensorrt")
        module.__version__ = "10.3.0"
        module.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, severity: None})
        module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        module.BuilderFlag = SimpleNamespace(TF32="TF32")
        module.Builder = lambda logger: Builder(self)
        module.OnnxParser = lambda network, logger: Parser(self, network)
        module.nptype = lambda dtype: TYPES[dtype]
        module.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: Engine(self, plan))
        return module


class Builder:
    """Its plan is the ONNX file, its timing cache counts the builds."""

    def __init__(self, gpu: StandInGpu) -> None:
        self.gpu = gpu

    def create_network(self, flags: int) -> SimpleNamespace:
        assert flags == 1 << 1, "the network is not strongly typed"
        return SimpleNamespace(onnx=None)

    def create_builder_config(self) -> SimpleNamespace:
        config = SimpleNamespace(cleared=[], timings=None, max_aux_streams=None)
        config.clear_flag = config.cleared.append
        config.create_timing_cache = lambda content: SimpleNamespace(serialize=lambda: content + b"b")
        config.set_timing_cache = lambda cache, ignore: setattr(config, "timings", cache)
        config.get_timing_cache = lambda: config.timings
        return config

    def build_serialized_network(self, network: SimpleNamespace, config: SimpleNamespace) -> bytes:
        assert config.cleared == ["TF32"] and config.max_aux_streams == 0 and config.timings is not None
        self.gpu.calls.append(f"build {network.onnx.name}")
        plan: bytes = network.onnx.read_bytes()
        return plan


class Parser:
    def __init__(self, gpu: StandInGpu, network: SimpleNamespace) -> None:
        self.gpu, self.network, self.num_errors = gpu, network, 1

    def parse_from_file(self, path: str) -> bool:
        self.network.onnx = Path(path)
        return not self.gpu.refuses

    def get_error(self, index: int) -> str:
        return self.gpu.refuses


class Engine:
    """ONNX Runtime with the options of deploy.runtime.open_session, on one thread."""

    def __init__(self, gpu: StandInGpu, plan: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if plan not in gpu.sessions:  # opening one takes a second, and it keeps no state
            gpu.sessions[plan] = onnxruntime.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        self.gpu, self.session = gpu, gpu.sessions[plan]
        self.ends = {n.name: n for n in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.ends)

    def get_tensor_name(self, index: int) -> str:
        return list(self.ends)[index]

    def get_tensor_dtype(self, name: str) -> str:
        kind: str = self.ends[name].type
        return kind

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.ends[name].shape)

    def create_execution_context(self) -> ExecutionContext:
        self.gpu.check_current()
        return ExecutionContext(self)


class ExecutionContext:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses, self.ran = engine, dict[str, int](), False

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        gpu, stream, addresses = self.engine.gpu, self.engine.gpu.streams[stream_handle], dict(self.addresses)
        if stream.capturing is None:
            gpu.calls.append("run")
            self.ran = True
        elif not self.ran:
            return False
        stream.queue(lambda: self._compute(addresses))
        return True

    def _compute(self, addresses: dict[str, int]) -> None:
        session = self.engine.session
        given = {n.name: self._array(n.name, addresses) for n in session.get_inputs()}
        for node, value in zip(session.get_outputs(), session.run(None, given), strict=True):
            self._array(node.name, addresses)[...] = value

    def _array(self, name: str, addresses: dict[str, int]) -> np.ndarray[Any, Any]:
        shape, dtype = self.engine.get_tensor_shape(name), np.dtype(TYPES[self.engine.get_tensor_dtype(name)])
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return at(addresses[name], nbytes).view(dtype).reshape(shape)
