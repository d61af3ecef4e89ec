"""What an observer makes of statuses: rates, latency, buckets, silence; and a run as a timeline."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from deploy.observer import WINDOW_S, Observer, Seen, timeline
from genie.evaluation.timeline import timeline_html

SEEN = Seen(0.0, 0, (), False, 0.06, 0.03, 128, 0, 0, 0, 0, 0, "abc")


def fed(seconds: float) -> Observer:
    """30 Hz; each third is new, on 64 or 128 columns in turns."""
    observer = Observer()
    for i in range(round(seconds * 30)):
        new = i % 3 == 0
        observer.add(
            replace(
                SEEN, heard_s=i / 30, is_new=new, published=i + 1, inferences=i // 3 + 1,
                columns=64 if i % 6 == 0 else 128, input_age_s=0.06 if new else 0.1,
            )
        )  # fmt: skip
    return observer


def test_a_page_tells_rates_latency_and_buckets_of_the_last_seconds() -> None:
    page = fed(25.0).page(25.0)
    assert page.published_hz == pytest.approx(30.0, abs=0.01)
    assert page.new_hz == pytest.approx(10.0, abs=0.15)
    assert page.latency_ms == pytest.approx((60.0, 60.0, 60.0))
    assert page.buckets == {64: 50, 128: 50} and sum(page.buckets.values()) <= WINDOW_S * 10
    assert page.silent_s == pytest.approx(1 / 30, abs=1e-6)


def test_silence_a_restart_and_nothing_at_all() -> None:
    page = fed(5.0).page(60.0)
    assert page.silent_s > 50 and math.isnan(page.published_hz) and page.newest is not None
    observer = fed(2.0)
    observer.add(replace(SEEN, heard_s=2.1, published=1))  # a new process counts from 1
    assert math.isnan(observer.page(2.1).published_hz)
    nothing = Observer().page(0.0)
    assert nothing.newest is None and math.isnan(nothing.silent_s) and nothing.buckets == {}


def test_statuses_become_stretches_and_a_strip() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 4.0]
    words = [(), (), ("no_occupancy",), ("no_occupancy",), ()]
    found = timeline(times, [0, 0, 2, 3, 0], words)
    assert [(s.begin_s, s.end_s, s.level) for s in found] == [(0, 2, 0), (2, 3, 2), (3, 4, 3), (4, 4, 0)]
    assert timeline([], [], []) == []
    names = ("OK", "DEGRADED", "HOLD", "FAULT")
    rows = [
        {"begin_s": s.begin_s, "end_s": s.end_s, "level": names[s.level], "reasons": list(s.reasons)} for s in found
    ]
    text = timeline_html(rows)
    assert "2.00 to 3.00 s HOLD: no_occupancy" in text and "width:50.000%" in text and "<script" not in text
    assert "OK throughout" in timeline_html(rows[:1])
    assert "No statuses" in timeline_html([])
