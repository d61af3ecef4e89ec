"""How many columns a tick computes: the host's part of the gate, from one integer. numpy-free and explicit."""

from __future__ import annotations

from typing import NamedTuple

from genie.config import GateConfig


class BucketState(NamedTuple):
    """bucket: rows of the last tick, 0 before the first. held: the bucket that the next tick leaves only with reason:
    the last one, but for bursts. quiet: ticks in a row in which a smaller one had sufficed. since_refresh_s: stream
    time since the last refresh. needed: columns that the last tick had to compute."""

    bucket: int
    held: int
    quiet: int
    since_refresh_s: float
    needed: int = 0


START = BucketState(0, 0, 0, 0.0)


def refresh_due(state: BucketState, dt_s: float, config: GateConfig) -> bool:
    """Whether this tick, `dt_s` after the last, refreshes: rare bursts leave all other ticks quiet."""
    return state.since_refresh_s + dt_s >= config.refresh_s


def choose_bucket(
    needed: int, state: BucketState, dt_s: float, config: GateConfig, most: int | None = None
) -> BucketState:
    """The smallest bucket that holds the columns that must be computed; all of them if only that does.

    A larger one is taken at once, a smaller one when it has sufficed for `quiet_ticks`, so that a scene at the edge
    between two does not change graphs every tick. A burst says nothing of the ticks after it: neither what a refresh
    takes nor all columns is held.

    Args:
        most: columns that a tick may compute, for a bound on its time; the first tick of a stream computes all the
            same. What is left for later surprises the next tick again, and ranks first there. None: no bound.
    """
    enough = next(size for size in config.buckets if size >= min(needed, config.buckets[-1]))
    if most is not None and state.bucket:
        enough = min(enough, largest_within(most, config))
    if refresh_due(state, dt_s, config):
        return BucketState(max(enough, state.held), state.held, state.quiet, 0.0, needed)
    since = state.since_refresh_s + dt_s
    quiet = state.quiet + 1 if enough < state.held else 0
    if quiet and quiet < config.quiet_ticks:
        return BucketState(state.held, state.held, quiet, since, needed)
    return BucketState(enough, enough if enough < config.buckets[-1] else 0, 0, since, needed)


def largest_within(most: int, config: GateConfig) -> int:
    """The largest bucket of at most so many columns; the smallest one if there is none."""
    return max((size for size in config.buckets if size <= most), default=config.buckets[0])
