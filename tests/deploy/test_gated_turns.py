"""Benchmarks interleave: gated bundles and their dense twin take turns over the same frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploy.bench import BundleTimes, Clip, measure
from deploy.pipeline import Pipeline
from deploy.spec import read_manifest
from genie.data.sequence import Sequence as Stream
from perception.types import SceneForecast, SensorFrame

Measure = Callable[..., list[BundleTimes]]


def one_after_the_other(bundles: Sequence[Path], clips: Sequence[Clip], *, threads: int) -> list[BundleTimes]:
    """A fake: a machine that grows slower would be held against the last."""
    return [times for bundle in bundles for times in measure([bundle], clips, threads=threads)]


def check_bundles_take_turns(run: Measure, bundles: list[Path], stream: Stream, patch: pytest.MonkeyPatch) -> None:
    stepped: list[tuple[str, int]] = []
    step = Pipeline.step

    def recorded(self: Pipeline, frame: SensorFrame) -> SceneForecast:
        stepped.append((self.bundle_id, frame.stamp_us))
        return step(self, frame)

    with patch.context() as context:
        context.setattr(Pipeline, "step", recorded)
        run(bundles, [Clip(stream, 3)], threads=1)
    names = [read_manifest(bundle).bundle_id for bundle in bundles]
    assert stepped == [(name, us) for us in stream.timestamp_us[:3].tolist() for name in names]


def test_gated_and_dense_bundles_take_turns(
    bundle: Path, dense_bundle: Path, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [bundle, dense_bundle]
    assert [read_manifest(b).form for b in bundles] == ["gated", "dense"]
    check_bundles_take_turns(measure, bundles, stream, monkeypatch)
    with pytest.raises(AssertionError):
        check_bundles_take_turns(one_after_the_other, bundles, stream, monkeypatch)
