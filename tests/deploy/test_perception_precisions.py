"""A perception in FP16 and INT8: which products are in which type, what it was calibrated on, and that its scores are
made of what the graph says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto

from calib.errors import CheckFailed, InputError
from deploy import aot
from deploy.bundle_files import sha256_of
from deploy.engine import build_plan
from deploy.perception_calibration import choose_keyframes
from deploy.perception_export import Perceive, example_inputs, export_perception
from deploy.perception_parity import checks, compare_perception
from deploy.perception_precision import without_batch_norm
from deploy.perception_scores import ExportedPerceiver
from deploy.perception_spec import read_perception_manifest
from deploy.quantize import check_quantized
from deploy.spec import WEIGHTS_FILE
from genie.data.perception_frames import prepare_frames
from perception.checkpoint import load_network
from perception.evaluate import CAMERA_ONLY, FUSED, LIDAR_ONLY, Perceiver, Row
from perception.frames import FrameStore
from perception.report import to_json
from tests.small_perception import BOTH, export_small

FRAMES = 2
FP32, FP16 = TensorProto.FLOAT, TensorProto.FLOAT16


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, sensor_root: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("precisions")
    found = {"fp32": export_small(folder, BOTH)}
    for precision, root in (("fp16", None), ("int8", sensor_root)):
        found[precision] = folder / precision
        export_perception(folder / "model.safetensors", found[precision], precision, root, FRAMES)
    return found


def graph_of(export: Path) -> onnx.ModelProto:
    return onnx.load(str(export / read_perception_manifest(export).graph.file))


def test_each_is_near_pytorch_in_fp32(exports: dict[str, Path]) -> None:
    """By the probability of being occupied. The classes of untrained weights are so near to each other that rounding
    changes them; those of the shipped weights are held to their limit by `geniedrive parity` (perception.md)."""
    apart = {}
    for precision, export in exports.items():
        found = compare_perception(export, threads=1)
        assert [c for c in checks(found, export) if not c.passed and "mean" in c.what] == [], precision
        apart[precision] = max(d.occupied_mean for d in found)
    assert apart["fp32"] < apart["fp16"] < apart["int8"], "they are all the same graph"


def test_fp16_convolves_in_fp16_and_normalises_in_fp32(exports: dict[str, Path]) -> None:
    graph = onnx.shape_inference.infer_shapes(graph_of(exports["fp16"]), strict_mode=True).graph
    ends = (*graph.value_info, *graph.input, *graph.output)
    types = {v.name: v.type.tensor_type.elem_type for v in ends} | {i.name: i.data_type for i in graph.initializer}
    kinds = {op: {types[n.input[0]] for n in graph.node if n.op_type == op} for op in {n.op_type for n in graph.node}}
    assert kinds["Conv"] == {FP16} and kinds["Softmax"] == {FP32} and kinds["InstanceNormalization"] == {FP32}
    assert "BatchNormalization" not in kinds
    of_fp32 = read_perception_manifest(exports["fp32"]).graph
    of_fp16 = read_perception_manifest(exports["fp16"]).graph
    assert of_fp32.inputs == of_fp16.inputs and of_fp32.outputs == of_fp16.outputs, "one host feeds both"


def test_int8_quantises_both_inputs_of_every_convolution(exports: dict[str, Path]) -> None:
    graph = graph_of(exports["int8"]).graph
    convolutions = sum(n.op_type == "Conv" for n in graph.node)
    assert convolutions == sum(n.op_type == "Conv" for n in graph_of(exports["fp32"]).graph.node) > 30
    check_quantized(graph, convolutions)
    with pytest.raises(CheckFailed, match="0 layers are quantised"):
        check_quantized(graph_of(exports["fp32"]).graph, convolutions)


def test_the_manifest_says_which_and_what_it_was_calibrated_on(exports: dict[str, Path], sensor_root: Path) -> None:
    manifests = {p: read_perception_manifest(e) for p, e in exports.items()}
    assert {p: m.precision for p, m in manifests.items()} == {p: p for p in exports}
    assert manifests["fp32"].calibration_sha256 is manifests["fp16"].calibration_sha256 is None
    told = exports["int8"] / "calibration.json"
    assert manifests["int8"].calibration_sha256 == sha256_of(told)
    assert [f["scene"] for f in json.loads(told.read_text())["frames"]] == ["scene-0001"] * FRAMES
    chosen = choose_keyframes(sensor_root, FRAMES)
    inputs = list(chosen.inputs(manifests["int8"].config.model))
    assert len(inputs) == FRAMES + 2, "one of them also without lidar, and without cameras"
    assert inputs[0].lidar is not None and inputs[0].lidar.any() and inputs[0].present is not None
    assert inputs[0].present.all() and inputs[1].lidar is None and inputs[2].images is None
    assert all(keyframe.speed_m_s >= 0 and len(keyframe.images) == 6 for keyframe in chosen.keyframes)


def test_what_cannot_be_exported_is_refused(exports: dict[str, Path], sensor_root: Path, tmp_path: Path) -> None:
    weights = exports["fp32"] / WEIGHTS_FILE
    for arguments, said in (
        (("int8",), "without calibration data"),
        (("int4",), "precision 'int4'"),
        (("fp16", sensor_root), "calibration data for fp16"),
        (("int8", sensor_root, 99), "to choose 99 from"),
    ):
        with pytest.raises(InputError, match=said):
            export_perception(weights, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_batch_normalisation_goes_into_the_convolutions(exports: dict[str, Path]) -> None:
    model = load_network(exports["fp32"] / WEIGHTS_FILE).model
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    fused = without_batch_norm(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())
    inputs = list(example_inputs(model.config).values())
    with torch.inference_mode():
        torch.testing.assert_close(Perceive(fused)(*inputs)[1], Perceive(model)(*inputs)[1], atol=1e-5, rtol=1e-4)


def test_tensorrt_rtx_builds_int8(exports: dict[str, Path], tmp_path: Path) -> None:
    graph = exports["int8"] / read_perception_manifest(exports["int8"]).graph.file
    assert build_plan(aot.load_tensorrt_rtx(), graph, tmp_path / "timing.cache", aot._for_ampere).nbytes > 0


def test_an_export_is_scored_on_what_its_graph_says(
    exports: dict[str, Path], sensor_root: Path, tmp_path: Path, geniedrive: Callable[..., int]
) -> None:
    loaded = load_network(exports["fp32"] / WEIGHTS_FILE)
    store = FrameStore(tmp_path / "frames", loaded.config.model)
    ((scene, tokens),) = prepare_frames(sensor_root, store).items()
    plan, frame = store.plan(scene), store.read(scene, tokens[0])
    plain, graph = Perceiver(loaded.model, plan), ExportedPerceiver(exports["fp32"], 1, plan)
    for sensors in (LIDAR_ONLY, CAMERA_ONLY, FUSED):
        assert (plain(frame, sensors) != graph(frame, sensors)).mean() <= 1e-4, sensors.name
    arguments = ("--dataroot", sensor_root, "--frames", tmp_path / "frames", "--no-lost", "--no-rays", "--threads", 1)
    assert geniedrive("eval", "perception", "--model", exports["int8"], *arguments, "--json", tmp_path / "told") == 0
    (told,) = (r for r in json.loads((tmp_path / "told").read_text())["rows"] if r["name"] == FUSED.name)
    by_hand = Row(FUSED.name)
    int8 = ExportedPerceiver(exports["int8"], 1, plan)
    for token in tokens:
        by_hand.add(store.read(scene, token), int8(store.read(scene, token), FUSED), None)
    assert [told] == to_json([by_hand])


def test_exports_are_timed_over_the_same_frames(
    exports: dict[str, Path], sensor_root: Path, tmp_path: Path, geniedrive: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    timed = (exports["fp32"], exports["int8"], "--dataroot", sensor_root, "--threads", 1, "--out", tmp_path)
    assert geniedrive("bench", *timed, "--ticks", 3) == 0
    told = json.loads((tmp_path / "perception-times.json").read_text())
    assert [b["bundle_id"] for b in told["bundles"]] == [
        read_perception_manifest(exports[p]).bundle_id for p in ("fp32", "int8")
    ]
    for bundle in told["bundles"]:
        stages = bundle["ticks_ms"]
        assert list(stages) == ["decode", "prepare", "perceive", "total"] and all(len(s) == 3 for s in stages.values())
        for decode, prepare, perceive, total in zip(*stages.values(), strict=True):
            assert 0 < decode + prepare + perceive <= total
    page = (tmp_path / "perception-times.md").read_text()
    assert "perception, int8" in page and "GPU, TensorRT, Jetson Orin: not measured" in page
    assert str(sensor_root) not in page
    capsys.readouterr()
    assert geniedrive("bench", *timed, "--ticks", 99) == 2 and "keyframes with sensor files" in capsys.readouterr().err
    assert geniedrive("bench", exports["fp32"]) == 2 and "--dataroot" in capsys.readouterr().err
    assert geniedrive("bench", *timed, "--backend", "trt", "--scene", "scene-0001") == 2
    assert "--backend, --scene with a perception" in capsys.readouterr().err
    weights = exports["fp32"] / WEIGHTS_FILE
    assert geniedrive("export", weights, "--out", tmp_path / "no", "--form", "dense") == 2
    assert "--form or --noise" in capsys.readouterr().err
