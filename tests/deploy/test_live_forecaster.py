"""From stamps and poses to what is published: no ROS, time in the test's hands, a labelled stand-in for the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from deploy.live import LiveForecaster
from deploy.live_status import Level, LiveLimits
from deploy.stamps import DataClock, ExternalClock, Verdict
from tests.deploy.live_bench import EMPTY, T0, Bench, StandInEngine


@pytest.fixture
def bench() -> Iterator[Bench]:
    engine = StandInEngine()
    bench = Bench(engine, None)  # type: ignore[arg-type]  # made on the next line, with the clock of the bench
    bench.live = LiveForecaster(
        engine, DataClock(lambda: bench.seconds), LiveLimits(), monotonic_s=lambda: bench.seconds
    )
    yield bench
    engine.gate.set()
    bench.live.close()


def test_a_new_inference_counts_once_and_is_then_carried_on_by_odometry(bench: Bench) -> None:
    bench.frame(0)
    new = bench.tick_when_new()
    assert (new.forecast.stamp_us, new.status.inference_id) == (T0, 1)
    again = bench.live.tick()
    assert again.forecast.stamp_us == T0 and not again.status.is_new_inference  # no newer pose: the same forecast
    bench.odometry(20_000)
    moved = bench.live.tick()
    assert (moved.forecast.stamp_us, moved.status.inference_id, moved.status.is_new_inference) == (
        T0 + 20_000,
        1,
        False,
    )
    assert moved.forecast.world_from_ego[0, 3] == pytest.approx(0.16)
    assert moved.status.observation_us == T0
    assert (moved.status.published_count, moved.status.inference_count, len(bench.engine.stepped)) == (3, 1, 1)


def test_occupancy_waits_for_odometry_that_covers_it_and_takes_the_pose_of_its_stamp(bench: Bench) -> None:
    bench.odometry(0)
    bench.occupancy(30_000)
    time.sleep(0.05)
    assert bench.engine.stepped == []
    bench.odometry(40_000)
    bench.tick_when_new()
    assert bench.engine.stepped[0].stamp_us == T0 + 30_000
    assert bench.engine.stepped[0].world_from_ego[0, 3] == pytest.approx(0.24)


def test_while_inference_is_busy_only_the_newest_frame_waits(bench: Bench) -> None:
    bench.engine.gate.clear()
    for us in (0, 100_000, 200_000, 300_000):
        bench.frame(us)
        time.sleep(0.05)
    bench.engine.gate.set()
    while len(bench.engine.stepped) < 2:
        time.sleep(0.002)
    tick = bench.tick_when_new()
    assert [f.stamp_us - T0 for f in bench.engine.stepped] == [0, 300_000]
    assert tick.status.skipped_count == 2


def test_published_stamps_never_go_back_when_an_inference_is_slower_than_the_odometry(bench: Bench) -> None:
    bench.frame(0)
    stamps = [bench.tick_when_new().forecast.stamp_us]
    bench.engine.gate.clear()
    bench.frame(100_000)
    bench.odometry(180_000)
    stamps.append(bench.live.tick().forecast.stamp_us)
    bench.engine.gate.set()
    late = bench.tick_when_new()
    stamps.append(late.forecast.stamp_us)
    assert late.status.observation_us == T0 + 100_000
    assert stamps == [T0, T0 + 180_000, T0 + 180_000]


def test_stamps_out_of_order_and_from_the_future_are_counted_and_change_nothing(bench: Bench) -> None:
    bench.frame(0)
    bench.frame(100_000)
    assert bench.occupancy(100_000) is Verdict.OUT_OF_ORDER
    assert bench.occupancy(50_000) is Verdict.OUT_OF_ORDER
    assert bench.occupancy(1_400_000) is Verdict.FROM_FUTURE
    assert bench.odometry(90_000) is Verdict.OUT_OF_ORDER
    assert bench.odometry(9_000_000) is Verdict.FROM_FUTURE
    assert bench.odometry(120_000) is Verdict.ACCEPTED
    assert bench.live.tick().status.rejected_count == 5


def test_input_that_stops_makes_hold_then_fault_and_input_that_returns_mends_it(bench: Bench) -> None:
    bench.frame(0)
    assert bench.tick_when_new().status.level is Level.DEGRADED
    for us in range(100_000, 1_300_000, 100_000):
        bench.seconds += 0.1
        bench.frame(us)
        tick = bench.tick_when_new()
    assert (tick.status.level, tick.status.reasons) == (Level.OK, ())
    bench.seconds += 1.1
    held = bench.live.tick()
    assert held.status.level is Level.HOLD and held.forecast is not None
    assert held.status.reasons == ("no_occupancy", "no_odometry")
    assert held.status.input_age_s == pytest.approx(1.1, abs=1e-3)
    bench.seconds += 1.0
    fault = bench.live.tick()
    assert fault.status.level is Level.FAULT and fault.forecast is None
    assert fault.status.published_count == held.status.published_count
    for us in range(3_300_000, 4_400_000, 100_000):
        bench.seconds += 0.1
        bench.frame(us)
        back = bench.tick_when_new()
        if us == 3_300_000:  # the engine starts afresh after such a gap
            assert (back.status.level, back.status.reasons) == (Level.DEGRADED, ("history_refilling",))
    assert back.status.level is Level.OK


def test_without_any_input_it_holds_then_faults(bench: Bench) -> None:
    assert bench.live.tick().status.level is Level.HOLD
    bench.seconds += 2.5
    tick = bench.live.tick()
    assert (tick.status.level, tick.forecast) == (Level.FAULT, None)


def test_odometry_alone_cannot_hide_lost_occupancy(bench: Bench) -> None:
    bench.frame(0)
    bench.tick_when_new()
    for us in range(20_000, 1_200_000, 20_000):
        bench.seconds += 0.02
        bench.odometry(us)
    assert bench.live.tick().status.reasons == ("no_occupancy",)


def test_a_recording_that_begins_anew_resets_the_engine_and_drops_the_old_forecast(bench: Bench) -> None:
    bench.frame(5_000_000)
    bench.tick_when_new()
    assert bench.engine.resets == 1
    verdicts = [bench.odometry(us) for us in range(0, 100_000, 20_000)]
    assert verdicts == [Verdict.OUT_OF_ORDER] * 4 + [Verdict.RESTARTED]
    assert bench.live.tick().forecast is None
    bench.frame(100_000)
    assert bench.tick_when_new().forecast.stamp_us == T0 + 100_000
    assert bench.engine.resets == 2


def test_a_result_of_the_old_stretch_is_dropped(bench: Bench) -> None:
    bench.engine.gate.clear()
    bench.frame(5_000_000)
    time.sleep(0.05)
    for us in range(0, 100_000, 20_000):
        bench.odometry(us)
    bench.engine.gate.set()
    time.sleep(0.1)
    assert len(bench.engine.stepped) == 1
    assert bench.live.tick().forecast is None


def test_an_engine_that_fails_is_a_fault_from_then_on(bench: Bench) -> None:
    bench.frame(0)
    bench.tick_when_new()
    bench.engine.error = ValueError("NaN in the memory")
    bench.frame(100_000)
    tick = bench.tick_when_new()
    assert (tick.status.level, tick.status.reasons, tick.forecast) == (Level.FAULT, ("inference_failed",), None)
    assert tick.failure is bench.engine.error
    assert bench.live.tick().status.level is Level.FAULT


def test_an_external_clock_sees_latency_and_never_believes_the_future() -> None:
    now_us = [T0]
    live = LiveForecaster(StandInEngine(), ExternalClock(lambda: now_us[0]))
    try:
        for us in range(1_000_000, 1_200_000, 20_000):
            assert live.offer_odometry(T0 + us, np.eye(4)) is Verdict.FROM_FUTURE
        assert live.offer_odometry(T0, np.eye(4)) is Verdict.ACCEPTED
        live.offer_occupancy(T0, EMPTY)
        deadline = time.monotonic() + 5
        while not live.tick().status.is_new_inference and time.monotonic() < deadline:
            time.sleep(0.002)
        now_us[0] += 1_500_000
        assert live.tick().status.level is Level.HOLD
    finally:
        live.close()


def test_what_a_tick_should_not_wait_for_is_prepared_in_the_other_thread_of_good_forecasts_alone() -> None:
    import threading

    prepared: list[tuple[int, str]] = []
    engine = StandInEngine()
    bench = Bench(engine, None)  # type: ignore[arg-type]
    bench.live = LiveForecaster(
        engine,
        DataClock(lambda: bench.seconds),
        LiveLimits(),
        prepare=lambda forecast: prepared.append((forecast.inference_id, threading.current_thread().name)),
        monotonic_s=lambda: bench.seconds,
    )
    bench.frame(0)
    new = bench.tick_when_new()
    assert prepared == [(new.status.inference_id, "inference")]
    bench.live.close()
