"""How many columns a tick computes: the host's part of the gate, from one integer. numpy-free and explicit."""

from __future__ import annotations

from typing import NamedTuple

from genie.config import GateConfig


class BucketState(NamedTuple):
    """bucket: rows of the last tick, 0 before the first. quiet: ticks in a row in which a smaller one had sufficed.
    since_refresh_s: stream time since the last refresh."""

    bucket: int
    quiet: int
    since_refresh_s: float


START = BucketState(0, 0, 0.0)


def refresh_due(state: BucketState, dt_s: float, config: GateConfig) -> bool:
    """Whether this tick, `dt_s` after the last, refreshes: rare bursts leave all other ticks quiet."""
    return state.since_refresh_s + dt_s >= config.refresh_s


def choose_bucket(needed: int, state: BucketState, dt_s: float, config: GateConfig) -> BucketState:
    """The smallest bucket that holds the columns that must be computed; all of them if only that does.

    A larger one is taken at once, a smaller one when it has sufficed for `quiet_ticks`, so that a scene at the edge
    between two does not change graphs every tick. All columns are never computed for longer than they are needed.
    """
    enough = next(size for size in config.buckets if size >= min(needed, config.buckets[-1]))
    since = 0.0 if refresh_due(state, dt_s, config) else state.since_refresh_s + dt_s
    was_partial = 0 < state.bucket < config.buckets[-1]
    quiet = state.quiet + 1 if was_partial and enough < state.bucket else 0
    wait = quiet and quiet < config.quiet_ticks
    return BucketState(state.bucket, quiet, since) if wait else BucketState(enough, 0, since)
