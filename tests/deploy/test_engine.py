"""Engines are built on the target, stamped, and refused where they were built for something else.

A STAND-IN (standin_gpu.py) takes the place of TensorRT where none can run; NVIDIA's own parser and compiler come from
TensorRT-RTX, through the same code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from calib.errors import CheckFailed, InputError
from deploy.engine import build, build_plan, cache_path, engine_path, load_plan, main
from deploy.engine_stamp import Stamp, Target, read_stamp, stamp_path
from deploy.spec import SCHEMA, read_manifest
from tests.deploy.standin_gpu import StandInGpu

ORIN = Target(gpu="Orin", sm="8.7", cuda="12.6", tensorrt="10.3.0")


@pytest.fixture
def dense(dense_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of one graph that a test may change."""
    return Path(shutil.copytree(dense_bundle, tmp_path / "bundle"))


def built_for(target: Target, bundle: Path, gpu: StandInGpu | None = None, **more: Any) -> list[Any]:
    return build(bundle, (gpu or StandInGpu()).tensorrt, target, **more)


def load(bundle: Path, target: Target = ORIN) -> bytes:
    manifest = read_manifest(bundle)
    return load_plan(bundle, manifest, manifest.graphs["tick"], target)


def test_every_graph_has_an_engine_and_a_stamp_that_says_what_it_is(bundle: Path, tmp_path: Path) -> None:
    gated = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    built, manifest = built_for(ORIN, gated), read_manifest(gated)
    assert [b.graph for b in built] == list(manifest.graphs)
    for name, graph in manifest.graphs.items():
        path = engine_path(gated, graph)
        assert path.name == f"{name}.engine" and load_plan(gated, manifest, graph, ORIN) == path.read_bytes()
        stamp = read_stamp(path)
        assert asdict(stamp).items() >= {**asdict(ORIN), "onnx_sha256": graph.sha256, "schema": SCHEMA}.items()
        assert stamp.precision == "fp32" and stamp.calibration_sha256 is None
    assert not [p for p in gated.iterdir() if p.name.startswith(".")], "temporary files were left"


def test_what_is_right_is_kept_and_the_timings_go_on(dense: Path) -> None:
    gpu, told = StandInGpu(), []
    first = built_for(ORIN, dense, gpu)
    again = built_for(ORIN, dense, gpu, on_graph=told.append)
    assert gpu.calls == ["build tick.onnx"] and again == told
    assert first[0].seconds is not None and again[0].seconds is None
    built_for(ORIN, dense, gpu, rebuild=True)
    assert gpu.calls == ["build tick.onnx"] * 2
    assert cache_path(dense, ORIN).read_bytes() == b"bb", "the second build did not start from the first one's timings"
    built_for(replace(ORIN, tensorrt="10.7.0"), dense, gpu)
    assert len(gpu.calls) == 3 and cache_path(dense, replace(ORIN, tensorrt="10.7.0")).read_bytes() == b"b"
    elsewhere = dense.parent / "timings"
    for _ in range(2):
        built_for(ORIN, dense, gpu, rebuild=True, timings=elsewhere)
    assert cache_path(elsewhere, ORIN).read_bytes() == b"bb" == cache_path(dense, ORIN).read_bytes()


OTHER: dict[str, object] = {
    "onnx_sha256": "0" * 64,
    "gpu": "NVIDIA RTX A4000",
    "sm": "8.6",
    "cuda": "13.2",
    "tensorrt": "10.13.3",
    "precision": "int8",
    "calibration_sha256": "1" * 64,
    "schema": SCHEMA - 1,
    "engine_sha256": "2" * 64,
}


@pytest.mark.parametrize("name", [f.name for f in fields(Stamp)])
def test_an_engine_of_something_else_is_refused_by_name(dense: Path, name: str) -> None:
    built_for(ORIN, dense)
    path = engine_path(dense, read_manifest(dense).graphs["tick"])
    right = read_stamp(path)
    replace(right, **{name: OTHER[name]}).write(path)
    with pytest.raises(InputError) as error:
        load(dense)
    assert error.value.path == path and "geniedrive build" in error.value.fix
    assert error.value.found == f"the engine was built for something else: {name} {OTHER[name]}"
    assert error.value.expected == f"{name} {getattr(right, name)}"
    gpu = StandInGpu()
    built_for(ORIN, dense, gpu)
    assert gpu.calls == ["build tick.onnx"] and load(dense), "what is refused is built again"


def test_another_machine_is_refused_by_all_that_differs(dense: Path) -> None:
    built_for(ORIN, dense)
    with pytest.raises(InputError, match=r"gpu Orin, cuda 12\.6, tensorrt 10\.3\.0"):
        load(dense, Target(gpu="Thor", sm="8.7", cuda="13.2", tensorrt="10.13.3"))


def test_an_engine_that_was_damaged_or_half_copied_is_refused(dense: Path) -> None:
    built_for(ORIN, dense)
    path = engine_path(dense, read_manifest(dense).graphs["tick"])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="engine_sha256"):
        load(dense)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"gpu": "Orin"}'])
def test_no_stamp_is_refused(dense: Path, content: str | None) -> None:
    built_for(ORIN, dense)
    path = stamp_path(engine_path(dense, read_manifest(dense).graphs["tick"]))
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match="stamp") as error:
        load(dense)
    assert error.value.path == path


def test_no_engine(dense: Path) -> None:
    with pytest.raises(InputError, match="no engine") as error:
        load(dense)
    assert error.value.path == dense / "tick.engine"


def test_a_build_that_fails_leaves_the_older_engine(dense: Path) -> None:
    built_for(ORIN, dense)
    before = {p.name: p.read_bytes() for p in dense.iterdir()}
    gpu = StandInGpu()
    gpu.refuses = "no such operator"
    with pytest.raises(CheckFailed, match=r"tick\.onnx: no such operator"):
        built_for(ORIN, dense, gpu, rebuild=True)
    assert {p.name: p.read_bytes() for p in dense.iterdir()} == before


def test_the_module_builds_and_its_exit_codes(
    dense: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], geniedrive: Callable[..., int]
) -> None:
    gpu = StandInGpu()
    gpu.install(monkeypatch)
    assert main(["build", str(dense)]) == 0
    said = capsys.readouterr().out
    assert "STAND-IN (SM 8.7), TensorRT 10.3.0, CUDA 12.6" in said and "tick.engine: built in" in said
    assert geniedrive("build", dense) == 0 and "tick.engine: kept" in capsys.readouterr().out
    assert main(["build", str(dense.parent)]) == 2
    assert "manifest.json" in capsys.readouterr().err
    gpu.refuses = "too large"
    assert main(["build", str(dense), "--rebuild"]) == 1
    assert "too large" in capsys.readouterr().err


def test_where_there_is_no_tensorrt_the_command_says_what_to_install(dense: Path) -> None:
    """As it is on this machine."""
    program = [sys.executable, "-m", "deploy.engine", "build", str(dense)]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "python3-libnvinfer" in ran.stderr and "Traceback" not in ran.stderr
    assert not list(dense.glob("*.engine"))


# NVIDIA's own parser and compiler, without a GPU: ahead of time for Ampere (SM 8.6), the family of Orin.


def for_ampere(config: Any) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    config.num_compute_capabilities = 1
    config.set_compute_capability(rtx.ComputeCapability.SM86, 0)


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel here")


@pytest.mark.parametrize("name", ["gate", "tick_64", "tick_128", "tick_256", "tick_640", "tick_2500"])
def test_tensorrt_rtx_builds_every_gated_graph(rtx: Any, bundle: Path, tmp_path: Path, name: str) -> None:
    """It proves that the graph parses and compiles, not its speed or numbers."""
    plan = build_plan(rtx, bundle / f"{name}.onnx", tmp_path / "timing.cache", for_ampere)
    assert plan.nbytes > (100_000 if name == "gate" else 1_000_000)


def test_tensorrt_rtx_builds_a_stamped_engine(rtx: Any, dense: Path) -> None:
    ampere = Target(gpu="any of Ampere", sm="8.6", cuda="none", tensorrt=rtx.__version__)
    build(dense, rtx, ampere, prepare=for_ampere)
    assert len(load(dense, ampere)) > 1_000_000
    assert cache_path(dense, ampere).stat().st_size > 0
    with pytest.raises(InputError, match=f"tensorrt {rtx.__version__}"):
        load(dense)


def test_tensorrt_rtx_refuses_an_operator_that_is_none_and_says_which(rtx: Any, tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    node = helper.make_node("Unheard", ["x"], ["y"], domain="of")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("of", 1)]
    graph = helper.make_graph([node], "small", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(tmp_path / "small.onnx"))
    with pytest.raises(CheckFailed, match="Unheard"):
        build_plan(rtx, tmp_path / "small.onnx", tmp_path / "timing.cache", for_ampere)
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]
