"""How many columns a tick computes: up at once, down after a while, all of them never longer than needed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from genie.buckets import START, BucketState, choose_bucket, largest_within, refresh_due
from genie.config import GateConfig

CONFIG = GateConfig()
DT_S = 0.1
Policy = Callable[[int, BucketState, float, GateConfig], BucketState]


def taken(needed: Sequence[int], policy: Policy = choose_bucket) -> list[int]:
    state, buckets = START, []
    for count in needed:
        state = policy(count, state, DT_S, CONFIG)
        buckets.append(state.bucket)
    return buckets


def without_hysteresis(needed: int, state: BucketState, dt_s: float, config: GateConfig) -> BucketState:
    return choose_bucket(needed, state._replace(held=0, quiet=0), dt_s, config)


def stubborn(needed: int, state: BucketState, dt_s: float, config: GateConfig) -> BucketState:
    """Keeps the larger bucket, also the full one."""
    after = choose_bucket(needed, state, dt_s, config)
    return after._replace(bucket=max(after.bucket, state.bucket), held=max(after.bucket, state.bucket))


def holding(needed: int, state: BucketState, dt_s: float, config: GateConfig) -> BucketState:
    """Holds what a refresh took."""
    after = choose_bucket(needed, state, dt_s, config)
    return after._replace(held=after.bucket if after.bucket < config.buckets[-1] else 0)


def slow(needed: int, state: BucketState, dt_s: float, config: GateConfig) -> BucketState:
    """One size up at a time."""
    after = choose_bucket(needed, state, dt_s, config)
    larger = [size for size in config.buckets if size > state.bucket]
    return after._replace(bucket=min(after.bucket, larger[0] if larger else state.bucket))


@pytest.mark.parametrize(
    ("needed", "bucket"),
    [(0, 64), (64, 64), (65, 128), (128, 128), (256, 256), (257, 640), (640, 640), (641, 2500), (2500, 2500)],
)
def test_the_smallest_bucket_that_holds_what_is_needed(needed: int, bucket: int) -> None:
    assert taken([needed]) == [bucket]


def check_up_at_once(policy: Policy) -> None:
    assert taken([0, 0, 200, 600], policy) == [64, 64, 256, 640]
    assert taken([0, 2000], policy) == [64, 2500]


def check_down_after_quiet_ticks(policy: Policy) -> None:
    assert CONFIG.quiet_ticks == 3
    assert taken([200, 0, 0, 0, 0], policy) == [256, 256, 256, 64, 64]
    assert taken([200, 0, 0, 200, 0, 0, 0], policy) == [256, 256, 256, 256, 256, 256, 64], "the count starts anew"
    assert taken([600, 200, 0, 0], policy)[-1] == 64, "what sufficed last, not what would have been enough before"


def check_the_full_bucket_is_never_kept(policy: Policy) -> None:
    assert taken([2500, 0, 0], policy) == [2500, 64, 64]
    assert taken([0, 2500, 100], policy) == [64, 2500, 128]


def check_a_burst_is_not_held(policy: Policy) -> None:
    """What is due in a refresh is computed then, and the ticks after it go on as before."""
    state, buckets = START, []
    for _ in range(120):
        state = policy(600 if refresh_due(state, DT_S, CONFIG) else 70, state, DT_S, CONFIG)
        buckets.append(state.bucket)
    assert Counter(buckets) == {128: 118, 640: 2}


def check_no_flicker(policy: Policy) -> None:
    """At the edge between two buckets the graph does not change every tick."""
    assert taken([60, *[70, 60] * 10], policy)[1:] == [128] * 20


@pytest.mark.parametrize(
    ("check", "fake"),
    [
        (check_up_at_once, slow),
        (check_down_after_quiet_ticks, without_hysteresis),
        (check_down_after_quiet_ticks, stubborn),
        (check_the_full_bucket_is_never_kept, stubborn),
        (check_a_burst_is_not_held, stubborn),
        (check_a_burst_is_not_held, holding),
        (check_no_flicker, without_hysteresis),
    ],
)
def test_the_policy_and_that_a_fake_is_noticed(check: Callable[[Policy], None], fake: Policy) -> None:
    check(choose_bucket)
    with pytest.raises(AssertionError):
        check(fake)


def check_refreshes_come_in_rare_bursts(config: GateConfig) -> None:
    state, due = START, []
    for _ in range(500):
        due.append(refresh_due(state, DT_S, config))
        state = choose_bucket(0, state, DT_S, config)
    at = [n for n, refreshes in enumerate(due) if refreshes]
    assert 8 <= len(at) <= 10
    assert all(b - a in (50, 51) for a, b in itertools.pairwise(at))


def test_refreshes_come_in_rare_bursts() -> None:
    check_refreshes_come_in_rare_bursts(CONFIG)


@pytest.mark.parametrize("refresh_s", [0.0, 1e9])
def test_fake_refreshes_every_tick_or_never_are_noticed(refresh_s: float) -> None:
    with pytest.raises(AssertionError):
        check_refreshes_come_in_rare_bursts(GateConfig(refresh_s=refresh_s))


def test_stream_time_counts_and_not_ticks() -> None:
    """At 2 Hz as at 10 Hz: five seconds."""
    state = START
    for _ in range(9):
        assert not refresh_due(state, 0.5, CONFIG)
        state = choose_bucket(0, state, 0.5, CONFIG)
    assert refresh_due(state, 0.5, CONFIG)


def test_a_bound_holds_after_the_first_tick_and_what_is_left_is_remembered() -> None:
    needed, state, seen = [2500, 300, 2500, 40, 40, 40, 40, 40, 40, 40, 40], START, []
    for count in needed:
        state = choose_bucket(count, state, DT_S, CONFIG, most=200)
        seen.append(state.bucket)
        assert state.needed == count
    assert seen[0] == 2500, "a stream begins with all columns"
    assert seen[1:3] == [128, 128] and max(seen[1:]) == 128 and seen[-1] == 64
    assert largest_within(63, CONFIG) == 64 and largest_within(640, CONFIG) == 640


def test_a_bound_that_is_never_reached_changes_nothing() -> None:
    needed = [0, 200, 600, 100, 100, 100, 100, 100, 0, 2000, 10]
    assert taken(needed) == taken(needed, lambda *given: choose_bucket(*given, most=2500))
