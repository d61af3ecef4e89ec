"""What `geniedrive top` and the timeline of the report are made from: statuses as they were heard, summed up."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

WINDOW_S = 10.0


@dataclass(frozen=True)
class Seen:
    """A status as it was heard. heard_s: monotonic. columns: 0 where all are computed always."""

    heard_s: float
    level: int
    reasons: tuple[str, ...]
    is_new: bool
    input_age_s: float
    inference_s: float
    columns: int
    published: int
    inferences: int
    rejected: int
    skipped: int
    camera_mask: int
    engine_id: str


@dataclass(frozen=True)
class Page:
    """Over the last WINDOW_S. Rates in Hz, times in ms; NaN where there is nothing. buckets: inferences by the number
    of columns they computed. silent_s: since the last status."""

    published_hz: float
    new_hz: float
    latency_ms: tuple[float, float, float]  # median, p95, p99
    inference_ms: tuple[float, float, float]
    buckets: dict[int, int]
    silent_s: float
    newest: Seen | None


class Observer:
    """Keeps the statuses of a window."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque()

    def add(self, seen: Seen) -> None:
        self._seen.append(seen)
        while seen.heard_s - self._seen[0].heard_s > WINDOW_S:
            self._seen.popleft()

    def page(self, now_s: float) -> Page:
        """As of now."""
        recent = [s for s in self._seen if now_s - s.heard_s <= WINDOW_S]
        newest = self._seen[-1] if self._seen else None
        new = [s for s in recent if s.is_new]
        return Page(
            published_hz=_rate([s.heard_s for s in recent], [s.published for s in recent]),
            new_hz=_rate([s.heard_s for s in recent], [s.inferences for s in recent]),
            latency_ms=_spread([s.input_age_s for s in new]),
            inference_ms=_spread([s.inference_s for s in new]),
            buckets=dict(sorted(Counter(s.columns for s in new).items())),
            silent_s=float("nan") if newest is None else now_s - newest.heard_s,
            newest=newest,
        )


def _rate(heard_s: Sequence[float], counts: Sequence[int]) -> float:
    """Of a counter that may have begun anew with the node."""
    if len(counts) < 2 or heard_s[-1] <= heard_s[0] or any(b < a for a, b in pairwise(counts)):
        return float("nan")
    return (counts[-1] - counts[0]) / (heard_s[-1] - heard_s[0])


def _spread(seconds: Sequence[float]) -> tuple[float, float, float]:
    if not seconds:
        return (float("nan"),) * 3
    median, p95, p99 = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
    return float(median), float(p95), float(p99)


@dataclass(frozen=True)
class Stretch:
    """A time in one state. seconds: from the first status, begin and end."""

    begin_s: float
    end_s: float
    level: int
    reasons: tuple[str, ...]


def timeline(times_s: Sequence[float], levels: Sequence[int], reasons: Sequence[tuple[str, ...]]) -> list[Stretch]:
    """Statuses in time order as stretches of equal level and reasons; each ends where the next begins."""
    if not times_s:
        return []
    begin, out = times_s[0], []
    for (level, why), run in groupby(range(len(times_s)), key=lambda i: (levels[i], reasons[i])):
        index = list(run)
        end = min(index[-1] + 1, len(times_s) - 1)
        out.append(Stretch(times_s[index[0]] - begin, times_s[end] - begin, level, why))
    return out
