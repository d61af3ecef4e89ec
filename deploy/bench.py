"""How long a tick takes: deploy.pipeline.Pipeline.step on ONNX Runtime over a stream (report: deploy.bench_report)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.parity_stream import check_length
from deploy.pipeline import Pipeline
from deploy.spec import Manifest, read_manifest
from genie.data.sequence import Sequence as Stream
from perception.types import HORIZONS_S

PRESETS = ("tiny", "edge")
TOTAL = "total"
# Ticks apart, as many as Pipeline.warm_up runs: ONNX Runtime allocates in the second one, too (1.5 times the median).
APART = 2


@dataclass(frozen=True)
class Spread:
    """Milliseconds."""

    median: float
    p95: float
    max: float


@dataclass(frozen=True)
class BundleTimes:
    """name:     of the bundle's config. bundle_id: short sha256 of its manifest.
    ticks_ms: stage -> milliseconds of each tick in order; "total" is what the caller waits, all stages and between.
    """

    name: str
    bundle_id: str
    ticks_ms: dict[str, list[float]]

    @property
    def first_ms(self) -> dict[str, list[float]]:
        """Of the first two ticks, in which the runtime allocates: never part of the spread."""
        return {stage: values[:APART] for stage, values in self.ticks_ms.items()}

    @property
    def later_ms(self) -> dict[str, Spread]:
        """Of all ticks but those."""
        return {stage: _spread(values[APART:]) for stage, values in self.ticks_ms.items()}

    @property
    def rollouts_per_s(self) -> float:
        """Full rollouts: one observation encoded and six steps of 0.5 s decoded. From the median total."""
        return 1e3 / self.later_ms[TOTAL].median

    @property
    def predicted_frames_per_s(self) -> float:
        """Each step of a rollout counted as a frame, as peers count."""
        return len(HORIZONS_S) * self.rollouts_per_s


def _spread(values: list[float]) -> Spread:
    return Spread(float(np.median(values)), float(np.percentile(values, 95)), max(values))


def measure(
    bundles: Sequence[Path],
    stream: Stream,
    ticks: int,
    *,
    threads: int = 2,
    on_tick: Callable[[], None] = lambda: None,
) -> list[BundleTimes]:
    """Times every bundle over the same frames. They take turns, tick by tick, so that a machine that slows down while
    it runs slows all of them alike.

    Args:
        bundles: folders that `geniedrive export` wrote; one may be there twice, to see what is noise.
        ticks: frames of the stream, at least 3.
        threads: of each network.
        on_tick: called after each frame.

    Raises:
        InputError: a bundle is not whole, or the stream is too short.
    """
    if ticks <= APART:
        raise ValueError(f"{ticks} ticks: the first {APART} are told apart, so there must be more")
    check_length(stream, ticks)
    times = [_no_times(read_manifest(bundle)) for bundle in bundles]
    pipelines = [Pipeline(bundle, threads=threads) for bundle in bundles]
    for t in range(ticks):
        frame = stream.frame(t)
        for pipeline, bundle_times in zip(pipelines, times, strict=True):
            start = time.perf_counter()
            forecast = pipeline.step(frame)
            total_ms = (time.perf_counter() - start) * 1e3
            for stage, ms in {**forecast.timings_ms, TOTAL: total_ms}.items():
                bundle_times.ticks_ms.setdefault(stage, []).append(ms)
        on_tick()
    return times


def _no_times(manifest: Manifest) -> BundleTimes:
    return BundleTimes(manifest.config.name, manifest.bundle_id, {})


def export_presets(folder: Path, names: Sequence[str] = PRESETS) -> list[Path]:
    """Bundles of untrained presets, weights of seed 0: the graph is static, the weights do not change the work."""
    # Only here: bundles that exist are timed without torch, as on the car.
    import torch

    from deploy.export import export
    from genie.config import load_config
    from genie.model import GenieDrive
    from genie.training.checkpoint import save_checkpoint

    bundles = []
    for name in names:
        torch.manual_seed(0)
        config = load_config(name)
        checkpoint = folder / f"{name}.safetensors"
        save_checkpoint(checkpoint, GenieDrive(config.model), config, step=0)
        bundles.append(export(checkpoint, folder / name).folder)
    return bundles
