"""One CUDA device with one stream: its memory, copies, and graphs that are captured once and launched often.

Device, memory and stream are pycuda's. It wraps no CUDA graphs, so these few calls go to the driver's library itself.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from calib.errors import InputError
from deploy.spec import TensorSpec

Array = np.ndarray[Any, Any]
DRIVER_LIBRARY = "libcuda.so.1"
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may use the GPU meanwhile


class CapturedGraph:
    """A CUDA graph, ready to launch; freed with this object."""

    def __init__(self, handle: ctypes.c_void_p, destroy: Callable[[ctypes.c_void_p], int]) -> None:
        self.handle = handle
        # At the exit of the interpreter the driver frees everything itself, in an order of its own.
        weakref.finalize(self, destroy, handle).atexit = False


class Gpu:
    """Everything is queued on one stream, in order. Between `current()` and its end the calling thread may use it:
    the node loads in one thread and infers in another."""

    def __init__(self, cuda: Any, driver: Any) -> None:
        """
        Args:
            cuda: the module pycuda.driver.
            driver: the driver's library.
        """
        self._cuda, self._driver = cuda, driver
        cuda.init()
        self._device = cuda.Device(0)
        self._context = self._device.retain_primary_context()  # the one that TensorRT uses
        with self.current():
            self.stream = cuda.Stream()

    @property
    def name(self) -> str:
        """As its driver names it, such as "Orin"."""
        return str(self._device.name())

    @property
    def sm(self) -> str:
        """Compute capability, such as "8.7"."""
        return ".".join(map(str, self._device.compute_capability()))

    @property
    def cuda_version(self) -> str:
        """Of the driver, such as "12.6"."""
        version = int(self._cuda.get_driver_version())
        return f"{version // 1000}.{version % 1000 // 10}"

    @contextmanager
    def current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def used_bytes(self) -> int:
        """Of its memory, by everybody; on a Jetson that is the machine's memory."""
        with self.current():
            free, total = self._cuda.mem_get_info()
        return int(total - free)

    def pinned(self, spec: TensorSpec) -> Array:
        """Host memory that is copied from and to without a stop, zeroed."""
        array: Array = self._cuda.pagelocked_zeros(spec.shape, np.dtype(spec.dtype))
        return array

    def memory(self, spec: TensorSpec) -> Any:
        """Device memory, zeroed; int() of it is its address. Freed with the object."""
        memory = self._cuda.mem_alloc(spec.nbytes)
        self.clear(memory, spec.nbytes)
        return memory

    def clear(self, memory: Any, size: int) -> None:
        """Queues zeros for `size` bytes."""
        self._cuda.memset_d8_async(memory, 0, size, self.stream)

    def upload(self, memory: Any, pinned: Array) -> None:
        """Queues a copy to the device."""
        self._cuda.memcpy_htod_async(memory, pinned, self.stream)

    def download(self, pinned: Array, memory: Any) -> None:
        """Queues a copy to the host; it is there after `synchronize`."""
        self._cuda.memcpy_dtoh_async(pinned, memory, self.stream)

    def read(self, memory: Any, spec: TensorSpec) -> Array:
        """A copy of device memory, after all that was queued."""
        self.synchronize()
        array = spec.empty()
        self._cuda.memcpy_dtoh(array, memory)
        return array

    def write(self, memory: Any, array: Array) -> None:
        """Overwrites device memory, after all that was queued."""
        self.synchronize()
        self._cuda.memcpy_htod(memory, np.ascontiguousarray(array))

    def synchronize(self) -> None:
        """Waits for all that was queued."""
        self.stream.synchronize()

    def capture(self, queue: Callable[[], None]) -> CapturedGraph:
        """What `queue` queues, as a graph. Nothing of it runs yet."""
        stream, graph, ready = ctypes.c_void_p(self.stream.handle), ctypes.c_void_p(), ctypes.c_void_p()
        _check("cuStreamBeginCapture", self._driver.cuStreamBeginCapture_v2(stream, _CAPTURE_THREAD_LOCAL))
        try:
            queue()
        finally:
            ended = self._driver.cuStreamEndCapture(stream, ctypes.byref(graph))
        _check("cuStreamEndCapture", ended)
        instantiate = self._driver.cuGraphInstantiateWithFlags
        _check("cuGraphInstantiate", instantiate(ctypes.byref(ready), graph, ctypes.c_ulonglong(0)))
        _check("cuGraphDestroy", self._driver.cuGraphDestroy(graph))
        return CapturedGraph(ready, self._driver.cuGraphExecDestroy)

    def launch(self, graph: CapturedGraph) -> None:
        """Queues all of a captured graph."""
        _check("cuGraphLaunch", self._driver.cuGraphLaunch(graph.handle, ctypes.c_void_p(self.stream.handle)))


def open_gpu() -> Gpu:
    """The first GPU of this machine.

    Raises:
        InputError: pycuda, the driver or a GPU is missing.
    """
    try:
        import pycuda.driver as cuda

        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except (ImportError, OSError) as error:
        raise InputError(
            f"no CUDA here ({error})",
            expected="pycuda and the driver's library, as on a Jetson with JetPack",
            fix="install pycuda (`pip install 'geniedrive[orin]'`) on the car, or use --backend ort",
        ) from error
    try:
        return Gpu(cuda, driver)
    except cuda.Error as error:
        raise InputError(
            f"no GPU can be used ({error})", expected="an NVIDIA GPU", fix="check `nvidia-smi`, or use --backend ort"
        ) from error


def _check(call: str, code: int) -> None:
    if code:
        raise RuntimeError(f"{call} failed with CUDA error {code}")
