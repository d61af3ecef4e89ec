"""The computed bound: NVIDIA's peaks, bytes and products counted by hand, and what the page says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.bench_macs import macs
from deploy.roofline import MODES, PRECISIONS, Mode, Traffic, bound, count, graphs_of, steps_of, traffic
from deploy.spec import read_manifest
from tests.small_perception import LIDAR_ALONE, export_small


def test_the_peaks_are_those_that_nvidia_gives_for_the_module() -> None:
    maxn = MODES[-1]
    assert maxn.peak("int8") == pytest.approx(85e12, rel=0.01)  # dense
    assert maxn.peak("fp16") == pytest.approx(42.5e12, rel=0.01)
    assert maxn.peak("fp32") == pytest.approx(5.3e12, rel=0.01)  # of 2048 CUDA cores
    assert maxn.bandwidth == 204.8e9
    assert MODES[0].bandwidth == pytest.approx(136.5e9, rel=0.001)
    assert [mode.name for mode in MODES] == ["15 W", "30 W", "50 W", "60 W (MAXN)"]


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """relu(x [2, 3] @ w [3, 4]) -> z [2, 4], with the largest index of each row, int64 [2, 1]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("ArgMax", ["z"], ["i"], axis=1),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]),
        helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 4]),
        helper.make_tensor_value_info("i", TensorProto.INT64, [2, 1]),
    ]
    weights = [numpy_helper.from_array(np.ones((3, 4), np.float32), "w")]
    graph = helper.make_graph(nodes, "product", ends[:1], ends[1:], weights)
    path = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_bytes_counted_by_hand(product: Path) -> None:
    assert macs(product) == 24
    x, w, y, z, i = 6, 12, 8, 8, 2 * 8
    assert traffic(product, "fp32") == Traffic(4 * (x + w + z) + i, 4 * (x + w + y) + 4 * (y + z) + 4 * z + i)
    assert traffic(product, "fp16") == Traffic(2 * (x + w + z) + i, 2 * (x + w + y) + 2 * (y + z) + 2 * z + i)
    assert traffic(product, "int8") == Traffic(x + w + 2 * z + i, x + w + 2 * y + 2 * (y + z) + 2 * z + i)


def test_the_longer_of_arithmetic_and_memory() -> None:
    mode = Mode("test", sparse_int8=4e9, memory_mhz=3200.0)  # 2e9 dense int8, 1e9 fp16
    slow = bound(10**9, Traffic(2048, 4096), mode, "fp16")
    assert (slow.seconds, slow.limit) == (2.0, "arithmetic")
    fast = bound(1, Traffic(204_800_000, 409_600_000), mode, "fp16")
    assert fast.limit == "memory" and fast.seconds == pytest.approx(1e-3) and fast.unfused == pytest.approx(2e-3)


def test_of_a_real_bundle_every_tick_in_every_mode(
    bundle: Path, tmp_path: Path, geniedrive: Callable[..., int]
) -> None:
    manifest, out = read_manifest(bundle), tmp_path / "roofline.md"
    counted = count(graphs_of(bundle, manifest))
    for found in counted.values():
        fp32, fp16, int8 = (found.traffic[precision] for precision in PRECISIONS)
        assert fp32.least > fp16.least > int8.least and fp32.most > fp16.most > int8.most
        assert all(t.most > t.least for t in (fp32, fp16, int8))
    assert counted["tick_64"].macs < counted["tick_640"].macs < counted["tick_2500"].macs
    assert geniedrive("roofline", bundle, "--out", out) == 0
    page = out.read_text(encoding="utf-8")
    assert "**Computed, not measured.**" in page and manifest.bundle_id in page
    rows = re.findall(
        r"^\| (gate \+ tick_\d+) \| (\w+) \| \d+ \| [\d.]+ / \d+(?: \| [\d.]+ [am] / [\d.]+){4} \|$", page, re.M
    )
    assert rows == [(title, precision) for title in steps_of(manifest) for precision in PRECISIONS]


def test_a_convolution_counted_by_hand(tmp_path: Path) -> None:
    """3 x 3, of 4 channels in 2 groups to 6, on 8 x 5 with a border: 6 * 40 outputs of 2 * 9 products each."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 8, 5]) for n, c in (("x", 4), ("y", 6))]
    weights = [numpy_helper.from_array(np.ones((6, 2, 3, 3), np.float32), "w")]
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2, pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "convolution", ends[:1], ends[1:], weights)
    path = tmp_path / "convolution.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    assert macs(path) == 6 * 40 * 2 * 9


def test_the_budget_has_the_bounds_of_perception_and_says_that_nothing_was_measured(
    bundle: Path, tmp_path: Path, geniedrive: Callable[..., int]
) -> None:
    perception, out = export_small(tmp_path, LIDAR_ALONE), tmp_path / "roofline.md"
    assert geniedrive("roofline", bundle, perception, "--out", out) == 0
    page = out.read_text(encoding="utf-8")
    budget = page[page.index("## Budget of a frame") :]
    figures = r"(?: \| [\d.]+ / [\d.]+){4} \| not measured \|"
    assert re.search(r"\| perception \| 12 Hz \| 20 ms \| perceive" + figures, budget)
    assert re.search(r"\| world model \| 30 Hz \| 8 ms \| gate \+ tick_256" + figures, budget)
    assert re.search(r"\| before and after them \| 30 Hz \| 5 ms \| the host \|(?:  \|){4} not measured \|", budget)
