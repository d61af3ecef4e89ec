"""The benchmark: what is timed, in which order, and what the report says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from deploy.bench import TOTAL, BundleTimes, Clip, measure
from deploy.bench_report import Machine, Run, as_markdown
from deploy.pipeline import Pipeline
from deploy.spec import read_manifest
from genie.data.sequence import Sequence
from perception.types import SceneForecast, SensorFrame

STAGES = ["observe", "tick", "assemble", TOTAL]


def test_bundles_take_turns_over_the_same_frames(
    bundle: Path, stream: Sequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped: list[tuple[int, int]] = []
    step = Pipeline.step

    def recorded(self: Pipeline, frame: SensorFrame) -> SceneForecast:
        stepped.append((id(self), frame.stamp_us))
        return step(self, frame)

    monkeypatch.setattr(Pipeline, "step", recorded)
    first, second = measure([bundle, bundle], [Clip(stream, 3)], threads=1)
    who, when = zip(*stepped, strict=True)
    assert who == (who[0], who[1]) * 3 and who[0] != who[1]
    assert when == tuple(np.repeat(stream.timestamp_us[:3], 2))
    for times in (first, second):
        assert list(times.ticks_ms) == STAGES and {len(v) for v in times.ticks_ms.values()} == {3}
        parts = sum(np.array(times.ticks_ms[stage]) for stage in STAGES[:-1])
        np.testing.assert_allclose(parts, times.ticks_ms[TOTAL], rtol=0.1)
        assert min(times.ticks_ms["tick"]) > 1.0


def test_the_first_ticks_are_in_no_spread_and_a_rollout_is_six_frames() -> None:
    later = [float(ms) for ms in range(1, 101)]
    times = BundleTimes("x", "0", {TOTAL: [9999.0, 8888.0, *later]}, starts=[0])
    assert times.first_ms[TOTAL] == [9999.0, 8888.0]
    spread = times.later_ms[TOTAL]
    assert (spread.median, spread.max) == (50.5, 100.0) and spread.p95 == pytest.approx(95.05)
    assert times.rollouts_per_s == pytest.approx(1000 / 50.5)
    assert times.predicted_frames_per_s == pytest.approx(6000 / 50.5)


def test_the_first_two_ticks_of_every_clip_are_apart_and_some_bundles_see_some_frames(
    bundle: Path, dense_bundle: Path, stream: Sequence
) -> None:
    gated, dense = measure([bundle, dense_bundle], [Clip(stream, 4), Clip(stream, 3)], every=[1, 3], threads=1)
    assert gated.starts == [0, 4] and dense.starts == [0, 2]
    assert len(gated.rows) == 7 and len(dense.rows) == 3
    assert len(gated.later("tick")) == 3 and sum(gated.buckets.values()) == 3
    # Time that runs backwards is a scene cut: everything is computed anew.
    assert gated.rows[0] == gated.rows[4] == 2500 and gated.cuts_ms == [gated.ticks_ms["tick"][4]]
    assert set(dense.rows) == {0}


def test_the_command_writes_what_it_measured(
    bundle: Path, tmp_path: Path, geniedrive: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "benchmarks"
    assert geniedrive("bench", bundle, "--ticks", 4, "--threads", 1, "--out", out) == 0
    said, markdown = capsys.readouterr().out, (out / "tick.md").read_text(encoding="utf-8")
    tree = json.loads((out / "tick.json").read_text(encoding="utf-8"))
    (row,) = tree["bundles"]
    assert row["bundle_id"] == read_manifest(bundle).bundle_id and len(row["ticks_ms"][TOTAL]) == 4
    assert row["rollouts_per_s"] == pytest.approx(1e3 / np.median(row["ticks_ms"][TOTAL][2:]))
    for text in (said, markdown):
        assert f"{row['rollouts_per_s']:.1f}" in text and f"{row['predicted_frames_per_s']:.1f}" in text
    command = f"geniedrive bench {bundle} --ticks 4 --threads 1 --out {out}"
    assert tree["command"] == command and command in markdown
    assert tree["not_measured"] == ["GPU", "TensorRT", "Jetson Orin"]
    assert "GPU, TensorRT, Jetson Orin: not measured." in markdown
    assert tree["machine"]["cores"] >= 1 and tree["machine"]["cpu"] in markdown
    assert tree["versions"]["onnxruntime"] in markdown and tree["date"] in markdown
    assert sorted(p.name for p in out.iterdir()) == ["tick.json", "tick.md", "times.png"]


def test_a_bundle_that_is_not_whole_leaves_the_older_report(
    tmp_path: Path, geniedrive: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tick.md").write_text("older")
    assert geniedrive("bench", tmp_path / "none", "--out", tmp_path) == 2
    assert "manifest.json" in capsys.readouterr().err
    assert [p.read_text() for p in tmp_path.iterdir()] == ["older"]


def test_a_backend_or_baseline_needs_an_export_and_the_backend_its_library(
    bundle: Path, tmp_path: Path, geniedrive: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for options, says in (
        (["--backend", "trt"], "without an export"),
        (["--baseline", bundle], "without an export"),
        ([bundle, "--backend", "trt", "--ticks", 3], "no TensorRT here"),
    ):
        assert geniedrive("bench", *options, "--out", tmp_path) == 2
        assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_too_few_ticks_or_frames(bundle: Path, stream: Sequence) -> None:
    with pytest.raises(ValueError, match="2 ticks"):
        measure([bundle], [Clip(stream, 2)])
    with pytest.raises(InputError, match="frames"):
        measure([bundle], [Clip(stream, len(stream) + 1)])


def test_the_table_has_a_row_for_each_stage_of_each_bundle() -> None:
    run = Run(Machine("a CPU", 2, "an OS", 0.1), "geniedrive bench", "2026-01-01", "synthetic", 4, 2, 0.25, 60.0)
    times = [BundleTimes(name, "0", {s: [4.0, 3.0, 1.0, 2.0] for s in STAGES}, starts=[0]) for name in ("tiny", "edge")]
    markdown = as_markdown(run, times)
    rows = re.findall(
        r"^\| (\w+) \| 0 \| \**(\w+)\** \| 4\.0 \| 3\.0 \| 1\.5 \| 1\.9 \| 2\.0 \| 2\.0 \|$", markdown, re.MULTILINE
    )
    assert rows == [(name, stage) for name in ("tiny", "edge") for stage in STAGES]
    assert "took turns" in markdown and "| other programs during the run | 0.25 cores |" in markdown
