"""The GPU path: what is asked of TensorRT and CUDA in which order, and that the outputs are those of ONNX Runtime.

A STAND-IN (standin_gpu.py) takes the place of tensorrt, pycuda and libcuda: no GPU runs here.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calib.errors import InputError
from deploy.engine import build, engine_path, target_of
from deploy.engine_stamp import read_stamp
from deploy.graph_runtime import Runtime
from deploy.pipeline import Pipeline, tick_inputs
from deploy.runtime import OnnxRuntime, open_runtime
from deploy.runtime_cuda import Gpu
from deploy.runtime_trt import TensorRtRuntime
from deploy.spec import CONFIDENCE, OUTPUTS, ROWS, TRAJECTORY, read_manifest
from genie.data.sequence import Sequence
from genie.observation import observe, start_observer
from genie.rows import as_voxels
from tests.deploy.standin_gpu import StandInGpu

FIRST, LATER = ["run", "wait", "capture"], ["launch", "wait"]  # of one graph


@pytest.fixture(scope="module")
def gpu() -> StandInGpu:
    return StandInGpu()


@pytest.fixture(scope="module")
def engines(bundle: Path, gpu: StandInGpu, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gated bundle with its engines."""
    return built(bundle, gpu, tmp_path_factory.mktemp("engines") / "gated")


@pytest.fixture(scope="module")
def dense_engines(dense_bundle: Path, gpu: StandInGpu, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(dense_bundle, gpu, tmp_path_factory.mktemp("engines") / "dense")


def built(bundle: Path, gpu: StandInGpu, folder: Path) -> Path:
    shutil.copytree(bundle, folder)
    build(folder, gpu.tensorrt, target_of(gpu.tensorrt, Gpu(gpu.pycuda_driver, gpu.libcuda)))
    return folder


def opened(folder: Path, gpu: StandInGpu, kind: type[TensorRtRuntime] = TensorRtRuntime) -> TensorRtRuntime:
    return kind(folder, gpu.tensorrt, Gpu(gpu.pycuda_driver, gpu.libcuda))


@pytest.fixture(scope="module")
def runtime(engines: Path, gpu: StandInGpu) -> TensorRtRuntime:
    return opened(engines, gpu)


@pytest.fixture(scope="module")
def reference(engines: Path) -> OnnxRuntime:
    return OnnxRuntime(engines, threads=1)


@pytest.fixture(scope="module")
def ticks(stream: Sequence) -> list[dict[str, Any]]:
    """Inputs of six ticks at 10 Hz."""
    observer, inputs = start_observer(), []
    for t in range(6):
        scene, observer = observe(stream.frame(t), observer)
        inputs.append(tick_inputs(scene, None))
    return inputs


def told(runtime: Runtime, ticks: list[dict[str, Any]]) -> Iterator[dict[str, np.ndarray]]:
    """Outputs and state after each tick, from an empty state."""
    runtime.reset()
    for inputs in ticks:
        outputs = {name: array.copy() for name, array in runtime.tick(inputs).items()}
        yield outputs | {f"state.{name}": array.copy() for name, array in runtime.state().items()}


def check_equal(runtime: Runtime, reference: Runtime, ticks: list[dict[str, Any]]) -> None:
    for found, expected in zip(told(runtime, ticks), told(reference, ticks), strict=True):
        assert found.keys() == expected.keys() and set(OUTPUTS) < found.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, name)
        assert runtime.bucket() == reference.bucket()


def test_outputs_and_state_are_those_of_onnx_runtime_bit_for_bit(
    runtime: TensorRtRuntime, reference: OnnxRuntime, ticks: list[dict[str, Any]]
) -> None:
    """Of a fresh runtime, whose first ticks are not captured yet, and of one that was warmed up."""
    check_equal(runtime, reference, ticks)
    runtime.warm_up()
    check_equal(runtime, reference, ticks)


class NeverSwaps(TensorRtRuntime):
    """A fake: reads the same set every time."""

    def tick(self, inputs: Any) -> dict[str, np.ndarray]:
        outputs = super().tick(inputs)
        self._newest = 0
        return outputs


class NeverWaits(TensorRtRuntime):
    """A fake: reads the outputs before they are there."""

    def _run(self, graph: str) -> None:
        waits, self._gpu.synchronize = self._gpu.synchronize, lambda: None
        super()._run(graph)
        self._gpu.synchronize = waits


class OneDirection(TensorRtRuntime):
    """A fake: launches for both sets what was captured for one."""

    def _run(self, graph: str) -> None:
        step = self._steps[graph]
        step.captured = [next((c for c in step.captured if c is not None), None)] * 2
        super()._run(graph)


@pytest.mark.parametrize("fake", [NeverSwaps, NeverWaits, OneDirection])
def test_fakes_are_noticed(
    fake: type[TensorRtRuntime],
    engines: Path,
    gpu: StandInGpu,
    reference: OnnxRuntime,
    ticks: list[dict[str, Any]],
) -> None:
    with pytest.raises(AssertionError):
        check_equal(opened(engines, gpu, fake), reference, ticks[:3])


def calls_of(gpu: StandInGpu, work: Callable[[], object]) -> list[str]:
    before = len(gpu.calls)
    work()
    return gpu.calls[before:]


def test_a_tick_is_one_launch_and_one_wait_for_the_gate_and_for_its_bucket(
    engines: Path, gpu: StandInGpu, ticks: list[dict[str, Any]]
) -> None:
    runtime = opened(engines, gpu)
    assert calls_of(gpu, lambda: runtime.tick(ticks[0])) == FIRST * 2
    graphs = len(runtime.manifest.graphs)
    # Each graph in both directions; the gate and the full bucket have been run in one.
    assert sorted(calls_of(gpu, runtime.warm_up)) == sorted(FIRST * (2 * graphs - 2) + LATER * 2)
    for inputs in ticks:
        assert calls_of(gpu, lambda inputs=inputs: runtime.tick(inputs)) == LATER * 2


def test_the_dense_form_too(dense_engines: Path, gpu: StandInGpu, ticks: list[dict[str, Any]]) -> None:
    runtime = opened(dense_engines, gpu)
    assert calls_of(gpu, runtime.warm_up) == FIRST * 2
    assert calls_of(gpu, lambda: runtime.tick(ticks[0])) == LATER
    check_equal(runtime, OnnxRuntime(dense_engines, threads=1), ticks[:2])


def test_each_input_is_uploaded_once_and_the_state_never(runtime: TensorRtRuntime) -> None:
    gate, *buckets = runtime._steps.values()
    for bucket in buckets:
        both = gate.uploads + bucket.uploads
        assert len(both) == len(set(both))
        assert set(both) == {*runtime._inputs, "refresh"}
        assert (gate.downloads, bucket.downloads) == (["needed"], list(OUTPUTS))


def test_it_goes_on_from_the_state_of_another_and_forgets_it(
    runtime: TensorRtRuntime, reference: OnnxRuntime, ticks: list[dict[str, Any]]
) -> None:
    for _ in told(reference, ticks[:3]):
        pass
    runtime.reset()
    runtime.adopt(reference)
    assert runtime.bucket() == reference.bucket()
    found, expected = runtime.tick(ticks[3]), reference.tick(ticks[3])
    for name in OUTPUTS:
        np.testing.assert_array_equal(found[name], expected[name])
    runtime.reset()
    assert not any(array.any() for array in runtime.state().values()) and runtime.bucket().bucket == 0


def test_it_may_infer_in_another_thread_than_it_was_loaded_in(
    runtime: TensorRtRuntime, ticks: list[dict[str, Any]]
) -> None:
    """As the node does. A thread in which no context is current may call nothing."""
    outputs: list[dict[str, np.ndarray]] = []
    thread = threading.Thread(target=lambda: outputs.append(runtime.tick(ticks[0])))
    thread.start()
    thread.join()
    assert outputs and outputs[0].keys() == set(OUTPUTS)


def test_what_was_captured_is_freed_with_the_runtime(
    engines: Path, gpu: StandInGpu, ticks: list[dict[str, Any]]
) -> None:
    runtime = opened(engines, gpu)
    runtime.tick(ticks[0])
    handles = [c.handle.value for step in runtime._steps.values() for c in step.captured if c is not None]
    assert len(handles) == 2  # of the gate and of a bucket
    del runtime
    gc.collect()
    assert set(handles) <= set(gpu.destroyed)


def test_a_gpu_that_fails_is_an_error(
    engines: Path, gpu: StandInGpu, ticks: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = opened(engines, gpu)
    for inputs in ticks[:2]:
        runtime.tick(inputs)
    monkeypatch.setattr(gpu.libcuda, "cuGraphLaunch", lambda graph, stream: 700)
    with pytest.raises(RuntimeError, match="cuGraphLaunch failed with CUDA error 700"):
        runtime.tick(ticks[2])


def test_the_pipeline_runs_on_it(
    engines: Path,
    stream: Sequence,
    gpu: StandInGpu,
    reference: OnnxRuntime,
    ticks: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu.install(monkeypatch)
    pipeline = Pipeline(engines, backend="trt")
    for t, expected in enumerate(told(reference, ticks[:3])):
        found = pipeline.step(stream.frame(t))
        np.testing.assert_array_equal(found.semantics, as_voxels(expected[ROWS]))
        np.testing.assert_array_equal(found.trajectory, expected[TRAJECTORY])
        np.testing.assert_array_equal(found.confidence, expected[CONFIDENCE])


def test_the_benchmark_runs_on_it_and_names_the_gpu(
    dense_engines: Path,
    gpu: StandInGpu,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    geniedrive: Callable[..., int],
) -> None:
    gpu.install(monkeypatch)
    assert geniedrive("bench", dense_engines, "--backend", "trt", "--ticks", 3, "--out", tmp_path) == 0
    tree = json.loads((tmp_path / "tick.json").read_text(encoding="utf-8"))
    assert tree["runtime"] == "TensorRT, GPU" and tree["not_measured"] == ["Jetson Orin"]
    assert tree["hardware"]["accelerator"] == "STAND-IN (SM 8.7), TensorRT 10.3.0, CUDA 12.6"
    assert tree["hardware"]["gpu_used_mb"] == 24 * 1024


def test_an_engine_of_another_machine_is_refused(
    engines: Path, gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(engines, tmp_path / "moved"))
    path = engine_path(folder, read_manifest(folder).graphs["tick_128"])
    replace(read_stamp(path), sm="7.2", tensorrt="8.5.2").write(path)
    gpu.install(monkeypatch)
    with pytest.raises(InputError, match=r"sm 7\.2, tensorrt 8\.5\.2") as error:
        open_runtime(folder, "trt")
    assert error.value.path == path


def test_where_it_cannot_run_the_message_says_what_is_missing(
    engines: Path, gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no TensorRT here") as error:
        open_runtime(engines, "trt")
    assert "python3-libnvinfer" in error.value.fix
    monkeypatch.setitem(sys.modules, "tensorrt", gpu.tensorrt)
    with pytest.raises(InputError, match="no CUDA here") as error:
        open_runtime(engines, "trt")
    assert "pycuda" in error.value.fix
    with pytest.raises(InputError, match="'tpu'"):
        open_runtime(engines, "tpu")
