"""How long a tick takes: deploy.pipeline.Pipeline.step over a stream (report: deploy.bench_report)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calib.errors import InputError
from deploy.pipeline import Pipeline
from deploy.spec import Manifest, read_manifest
from genie.data.sequence import Sequence as Stream
from perception.types import HORIZONS_S

PRESETS = ("tiny", "edge")
TICK, TOTAL = "tick", "total"
# Ticks apart: in the first of a clip everything is computed anew, in the second what it had no past for.
APART = 2


class Clip(NamedTuple):
    """The first `ticks` frames of a stream."""

    stream: Stream
    ticks: int


@dataclass(frozen=True)
class Spread:
    """Milliseconds."""

    median: float
    p95: float
    p99: float
    max: float


@dataclass
class BundleTimes:
    """name:     of the bundle's config, or of the variant. bundle_id: short sha256 of its manifest.
    ticks_ms: stage -> milliseconds of each tick in order; "total" is what the caller waits, all stages and between.
    rows:     columns that each tick computed (the bucket); 0 for the dense form.
    starts:   ticks that began a clip.
    """

    name: str
    bundle_id: str
    ticks_ms: dict[str, list[float]] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    @property
    def first_ms(self) -> dict[str, list[float]]:
        """Of the first two ticks: never part of the spread."""
        return {stage: values[:APART] for stage, values in self.ticks_ms.items()}

    @property
    def later_ms(self) -> dict[str, Spread]:
        """Of all ticks but the first two of each clip."""
        return {stage: spread([values[t] for t in self._later(values)]) for stage, values in self.ticks_ms.items()}

    @property
    def cuts_ms(self) -> list[float]:
        """The network's time in the first tick of each further clip: a scene cut, where everything is computed anew."""
        return [self.ticks_ms[TICK][t] for t in self.starts[1:]]

    @property
    def buckets(self) -> dict[int, int]:
        """Columns computed -> in how many of the later ticks."""
        return dict(sorted(Counter(self.rows[t] for t in self._later(self.rows)).items()))

    @property
    def rollouts_per_s(self) -> float:
        """Full rollouts: one observation encoded and six steps of 0.5 s decoded. From the median total."""
        return 1e3 / self.later_ms[TOTAL].median

    @property
    def predicted_frames_per_s(self) -> float:
        """Each step of a rollout counted as a frame, as peers count."""
        return len(HORIZONS_S) * self.rollouts_per_s

    def later(self, stage: str) -> list[float]:
        """Milliseconds of all ticks but the first two of each clip."""
        return [self.ticks_ms[stage][t] for t in self._later(self.ticks_ms[stage])]

    def _later(self, values: Sequence[object]) -> list[int]:
        apart = {start + t for start in self.starts for t in range(APART)}
        return [t for t in range(len(values)) if t not in apart]


def spread(values: Sequence[float]) -> Spread:
    p95, p99 = np.percentile(values, [95, 99])
    return Spread(float(np.median(values)), float(p95), float(p99), float(max(values)))


def measure(
    bundles: Sequence[Path],
    clips: Iterable[Clip],
    *,
    every: Sequence[int] | None = None,
    threads: int = 2,
    backend: str = "ort",
    on_tick: Callable[[], None] = lambda: None,
) -> list[BundleTimes]:
    """Times every bundle over the same frames. They take turns, tick by tick, so that a machine that slows down while
    it runs slows all of them alike. Where a clip follows another, the pipelines see a scene cut.

    Args:
        bundles: folders that `geniedrive export` wrote; one may be there twice, to see what is noise.
        clips: each of at least 3 ticks; one at a time is held.
        every: which frames each bundle sees, 10: every tenth; None: all of them.
        threads: of each network on the CPU.
        backend: one of deploy.runtime.BACKENDS.
        on_tick: called after each frame.

    Raises:
        InputError: a bundle is not whole, a stream is too short, or the backend cannot run here.
    """
    times = [_no_times(read_manifest(bundle)) for bundle in bundles]
    pipelines = [Pipeline(bundle, threads=threads, backend=backend) for bundle in bundles]
    for pipeline in pipelines:
        pipeline.warm_up()  # as the node does
    steps = every or [1] * len(bundles)
    for clip in clips:
        _check(clip)
        for bundle_times in times:
            bundle_times.starts.append(len(bundle_times.rows))
        for t in range(clip.ticks):
            frame = clip.stream.frame(t)
            for pipeline, bundle_times, step in zip(pipelines, times, steps, strict=True):
                if t % step:
                    continue
                start = time.perf_counter()
                forecast = pipeline.step(frame)
                total_ms = (time.perf_counter() - start) * 1e3
                for stage, ms in {**forecast.timings_ms, TOTAL: total_ms}.items():
                    bundle_times.ticks_ms.setdefault(stage, []).append(ms)
                bundle_times.rows.append(pipeline.computed)
            on_tick()
    return times


def _check(clip: Clip) -> None:
    if clip.ticks <= APART:
        raise ValueError(f"{clip.ticks} ticks: the first {APART} are told apart, so there must be more")
    if clip.ticks > len(clip.stream):
        raise InputError(
            f"{len(clip.stream)} frames in {clip.stream.name} for {clip.ticks} ticks",
            expected="as many frames as ticks",
            fix="choose a longer scene, or fewer --ticks",
            path=clip.stream.source,
        )


def _no_times(manifest: Manifest) -> BundleTimes:
    return BundleTimes(manifest.config.name, manifest.bundle_id)
