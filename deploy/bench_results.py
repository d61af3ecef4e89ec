"""What the comparison found: figures that follow from the times and counts, the targets they are held to, the claims of
the article beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deploy.bench import TICK, TOTAL, BundleTimes
from deploy.bench_macs import CacheBytes, cache_of_tick, macs_of_tick
from deploy.bench_scaling import ONE_BUCKET, Scaling
from genie.variants import DENSE, GATED, MEMORY, OFF, Variant, reached
from perception.types import HORIZONS_S


@dataclass(frozen=True)
class VariantResult:
    """times: all variants in turns over the same frames. macs, cache: by graph (deploy.bench_macs)."""

    variant: Variant
    times: BundleTimes
    macs: dict[str, int]
    state_bytes: int
    cache: dict[str, CacheBytes]

    @property
    def tick_ms(self) -> float:
        """Median of gate and tick."""
        return self.times.later_ms[TICK].median


@dataclass(frozen=True)
class Measured:
    """whole: by variant, in turns over the whole stream: the default over every frame, those whose time does not depend
    on it over some. parameters: of the model."""

    variants: list[VariantResult]
    whole: dict[str, BundleTimes]
    scaling: Scaling
    parameters: int

    def named(self, name: str) -> VariantResult | None:
        return next((v for v in self.variants if v.variant.name == name), None)

    @cached_property
    def dense(self) -> VariantResult:
        return self._must(DENSE)

    @cached_property
    def gated(self) -> VariantResult:
        return self._must(GATED)

    def _must(self, name: str) -> VariantResult:
        found = self.named(name)
        assert found is not None, f"the variant {name} is always measured"
        return found

    @property
    def mix(self) -> dict[int, int]:
        """Columns computed -> ticks of the whole stream."""
        return self.whole[GATED].buckets

    def mix_of(self, result: VariantResult) -> dict[int, int]:
        """The default's over the whole stream, for all that have its buckets; else that of the common frames."""
        default = self.gated.variant.gate.get("buckets")
        same = result.variant.form == "gated" and result.variant.gate.get("buckets") == default
        return self.mix if same else result.times.buckets

    def macs(self, result: VariantResult) -> float:
        """Of a tick, at the mix."""
        return macs_of_tick(result.macs, self.mix_of(result))

    def cache(self, result: VariantResult) -> CacheBytes:
        """Of a tick, at the mix."""
        return cache_of_tick(result.cache, self.mix_of(result))

    @property
    def core_ms(self) -> float:
        """Mean of the gated core at the mix, from the medians of the buckets."""
        medians = {k: float(np.median(ms)) for k, ms in self.scaling.core.items()}
        return mean_at(medians, self.mix)

    @property
    def core_speed_up(self) -> float:
        return float(np.median(self.scaling.core_dense)) / self.core_ms

    @property
    def whole_ms(self) -> list[float]:
        """Gate and tick, over the whole stream."""
        return self.whole[GATED].later(TICK)

    def whole_speed_up(self, against: str) -> tuple[float, float] | None:
        """Over the whole stream, times faster: of medians, of means; None where that variant was not timed."""
        if against not in self.whole:
            return None
        theirs = self.whole[against].later(TICK)
        median, mean = (float(of(theirs) / of(self.whole_ms)) for of in (np.median, np.mean))
        return median, mean

    @property
    def rollouts_per_s(self) -> float:
        """As the caller sees it: observe and assemble included, mean over the whole stream."""
        return 1e3 / float(np.mean(self.whole[GATED].later(TOTAL)))

    @property
    def predicted_frames_per_s(self) -> float:
        return self.rollouts_per_s * len(HORIZONS_S)


def mean_at(values: dict[int, float], mix: dict[int, int]) -> float:
    return sum(values[k] * count for k, count in mix.items()) / sum(mix.values())


def mean_rows(mix: dict[int, int]) -> float:
    return mean_at({k: float(k) for k in mix}, mix)


@dataclass(frozen=True)
class Target:
    """What issue 4 wants to be shown."""

    what: str
    wanted: str
    found: str
    met: bool


def targets(m: Measured) -> list[Target]:
    dense, gated = m.dense, m.gated
    median, mean = float(np.median(m.whole_ms)), float(np.mean(m.whole_ms))
    at_256 = float(np.median(m.scaling.ticks[ONE_BUCKET]))
    state = gated.state_bytes / dense.state_bytes - 1
    bound, attended = (a / b - 1 for a, b in zip(m.cache(gated), m.cache(dense), strict=True))
    rows = [
        Target(
            "attention core against the dense twin, at the mix",
            "≥ 30x",
            f"{m.core_speed_up:.1f}x",
            m.core_speed_up >= 30,
        ),
    ]
    for against, what, wanted in (
        (DENSE, "full tick against the dense twin", 15),
        (MEMORY, "full tick against memory alone (merged memory, invented content decoded once)", 5),
    ):
        if found := m.whole_speed_up(against):
            rows.append(_at_least(what, wanted, *found))
    return [
        *rows,
        Target(f"full tick at k = {ONE_BUCKET}, R = 1280", "≤ 33 ms", f"{at_256:.1f} ms", at_256 <= 33),
        Target("full tick at the mix, median (mean)", "≤ 25 ms", f"{median:.1f} ms ({mean:.1f} ms)", median <= 25),
        Target(
            "full rollouts a second, observe and assemble included (mean)",
            "≥ 30",
            f"{m.rollouts_per_s:.1f}",
            m.rollouts_per_s >= 30,
        ),
        Target("parameters", "≤ 3.5 M", f"{m.parameters / 1e6:.2f} M", m.parameters <= 3_500_000),
        Target("state bytes against the dense twin", "-70 %", f"{state:+.1%}", state <= -0.7),
        Target("K and V bytes that attention reads in a tick", "-80 %", f"{attended:+.1%}", attended <= -0.8),
        Target("the same, of the bound buffers alone", "-80 %", f"{bound:+.1%}", bound <= -0.8),
    ]


def _at_least(what: str, wanted: float, of_medians: float, of_mean: float) -> Target:
    found = f"{of_medians:.1f}x of medians, {of_mean:.1f}x of means"
    return Target(what, f"≥ {wanted:g}x", found, min(of_medians, of_mean) >= wanted)


@dataclass(frozen=True)
class Claim:
    """Of the article, for one technique. speed: times faster; memory, compute: shares saved."""

    technique: str
    variant: str
    speed: float
    memory: float
    compute: float
    accuracy: str


CLAIMS = (
    Claim("Temporal Memory Fusion", MEMORY, 1.6, 0.40, 0.35, "+0.3 %"),
    Claim("token retention", "retention", 2.5, 0.55, 0.60, "-0.8 %"),
    Claim("variable heads per token", "heads", 3.0, 0.45, 0.67, "-0.5 %"),
    Claim("change-triggered sparse temporal attention", "gate", 3.3, 0.70, 0.70, "-1.9 %"),
)


@dataclass(frozen=True)
class Verdict:
    """Ours beside a claim: what we save of the same three. speed: full tick against the dense twin; of_off: against the
    gated form with everything off, which shows what the technique itself gives."""

    claim: Claim
    speed: float
    of_off: float | None
    memory: float
    compute: float

    @property
    def reached(self) -> str:
        return reached(
            {
                "speed": self.speed >= self.claim.speed,
                "memory": self.memory >= self.claim.memory,
                "compute": self.compute >= self.claim.compute,
            }
        )


def verdicts(m: Measured) -> list[Verdict]:
    """Of the claims whose variant was measured."""
    found, off = [], m.named(OFF)
    for claim in CLAIMS:
        if result := m.named(claim.variant):
            found.append(
                Verdict(
                    claim,
                    m.dense.tick_ms / result.tick_ms,
                    off.tick_ms / result.tick_ms if off else None,
                    1 - result.state_bytes / m.dense.state_bytes,
                    1 - m.macs(result) / m.macs(m.dense),
                )
            )
    return found
