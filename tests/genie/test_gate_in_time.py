"""The change gate: nothing grows stale unseen, streams that break are taken anew, and what matters most comes first.

Each check is also run on a deliberate fake, and must fail there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genie.config import GateConfig
from genie.gate import ChangeGate
from genie.gated import CHANGED_WITHIN
from genie.observation import ObservedScene
from perception.types import FREE
from tests.genie.gate_loops import DEAF, STANDING, Always, Never, exact
from tests.genie.gated_scenes import (
    BUSH,
    COLUMNS,
    DT_S,
    MANMADE,
    STREET,
    Box,
    GateLoop,
    Ticked,
    View,
    house,
    observed,
    semantics_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


# Time


def check_nothing_grows_old(loop: GateLoop, ticks: int) -> list[Ticked]:
    """A standing ego; now and then a block appears or vanishes somewhere. How long each column waits is counted here,
    apart from the facts: since something within reach of it changed for the first time after it was computed."""
    rng = np.random.default_rng(0)
    (scene,) = observed([STANDING])
    semantics = scene.semantics.copy()
    since = np.full((COLUMNS, COLUMNS), ticks)
    told = []
    for n in range(ticks):
        if n % 7 == 3:
            x, y = rng.integers(0, COLUMNS, 2)
            cells = (slice(4 * x, 4 * x + 4), slice(4 * y, 4 * y + 4), slice(4, 12))
            semantics[cells] = rng.choice([k for k in (FREE, MANMADE, BUSH) if not (semantics[cells] == k).any()])
            near = tuple(slice(max(0, i - CHANGED_WITHIN), i + CHANGED_WITHIN + 1) for i in (x, y))
            since[near] = np.minimum(since[near], n)
        first = n == 0
        now = scene._replace(
            semantics=semantics, continues=np.float32([not first]), dt=np.float32([0.0 if first else DT_S])
        )
        tick = loop.tick(now)
        told.append(tick)
        since.flat[tick.rows] = ticks
        waits_s = (n - since.min()) * DT_S
        assert waits_s <= 2 * GateConfig().refresh_s + 1e-6, f"tick {n}: {waits_s:.1f} s old"
    return told


def check_refreshes_are_rare_bursts(told: list[Ticked]) -> None:
    refreshes = sum(tick.due > 0 for tick in told)
    assert 0 < refreshes <= len(told) * DT_S / GateConfig().refresh_s
    assert np.mean([tick.bucket == GateConfig().buckets[0] for tick in told]) >= 0.85


def test_over_a_thousand_ticks_nothing_near_a_change_is_older_than_twice_the_refresh() -> None:
    check_refreshes_are_rare_bursts(check_nothing_grows_old(exact(), 1000))


def test_fake_without_refresh_columns_grow_old() -> None:
    with pytest.raises(AssertionError, match="s old"):
        check_nothing_grows_old(Never(spare=False), 150)


def test_fake_a_refresh_that_trickles_is_no_burst() -> None:
    told = check_nothing_grows_old(Always(spare=False), 150)
    with pytest.raises(AssertionError):
        check_refreshes_are_rare_bursts(told)


def check_an_all_change_clip_takes_all(loop: GateLoop) -> None:
    """Every frame another scene."""
    rng = np.random.default_rng(1)
    clips = [np.repeat(np.repeat(rng.integers(11, 17, (50, 50, 16)), 4, 0), 4, 1).astype(np.uint8) for _ in range(8)]
    assert {tick.bucket for tick in loop.run(observed(clips))} == {2500}


def test_an_all_change_clip_takes_the_full_bucket_every_tick() -> None:
    check_an_all_change_clip_takes_all(GateLoop())


def test_fake_a_deaf_gate_keeps_a_small_bucket() -> None:
    with pytest.raises(AssertionError):
        check_an_all_change_clip_takes_all(GateLoop(DEAF))


def restarted(scene: ObservedScene) -> ObservedScene:
    """After a gap: as genie.observation tells it."""
    zero = np.zeros(1, np.float32)
    return scene._replace(continues=zero, dt=zero, ego_motion=np.zeros(3, np.float32))


def jumped(scene: ObservedScene) -> ObservedScene:
    return scene._replace(ego_motion=np.float32([100.0, 0.0, 0.0]))


def check_flush(loop: GateLoop, broken: Callable[[ObservedScene], ObservedScene]) -> None:
    *quiet, last = observed([STANDING] * 4)
    assert loop.run(quiet)[-1].bucket == 64
    tick = loop.tick(broken(last))
    assert tick.needed == tick.bucket == 2500
    assert not tick.selection.columns.filled.any(), "something of before is still read"


@pytest.mark.parametrize("broken", [restarted, jumped])
def test_a_restart_and_a_jump_of_the_pose_take_everything_anew(
    broken: Callable[[ObservedScene], ObservedScene],
) -> None:
    check_flush(GateLoop(), broken)


def test_fake_a_stream_that_goes_on_does_not() -> None:
    with pytest.raises(AssertionError):
        check_flush(GateLoop(), lambda scene: scene)


def test_a_gap_between_frames_is_a_restart() -> None:
    loop = GateLoop()
    assert [tick.bucket for tick in loop.run(observed([STANDING] * 3, dt_s=1.5))] == [2500] * 3


# Rank


def overloaded() -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Many more changes than a small bucket holds, each of another size; and the voxels that differ in each column."""
    before = semantics_of(STANDING)
    after, size = before.copy(), np.zeros(2500, int)
    rng = np.random.default_rng(2)
    for column in rng.choice(2500, 500, replace=False):
        i, j = 4 * (column // COLUMNS), 4 * (column % COLUMNS)
        after[i : i + 4, j : j + 4, 16 - rng.integers(2, 14) :] = BUSH
        size[column] = (after[i : i + 4, j : j + 4] != before[i : i + 4, j : j + 4]).sum()
    return [before, before, after], size


def check_the_bucket_takes_what_matters_most(gate: ChangeGate) -> None:
    views, size = overloaded()
    tick = GateLoop(gate=gate, spare=False).run(observed(views))[-1]
    assert tick.needed > 400
    missed = size.sum() - size[tick.selection.order[:64].numpy()].sum()
    best = np.sort(size)[:-64].sum()
    assert missed <= 1.05 * best


def scored_by(score: nn.Module) -> ChangeGate:
    gate = ChangeGate(GateConfig())
    gate.score = score  # type: ignore[assignment]
    return gate


class Inverted(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return -2.0 * features[..., :1]


class Random(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return 10.0 * torch.randn(len(features), 1, generator=torch.Generator().manual_seed(0))


def test_a_bucket_that_is_too_small_takes_what_matters_most() -> None:
    check_the_bucket_takes_what_matters_most(ChangeGate(GateConfig()))


@pytest.mark.parametrize("score", [Inverted(), Random()])
def test_fake_an_inverted_or_random_scorer_misses_more(score: nn.Module) -> None:
    with pytest.raises(AssertionError):
        check_the_bucket_takes_what_matters_most(scored_by(score))


def check_the_pose_is_used(told: Callable[[ObservedScene], ObservedScene]) -> None:
    """While the ego drives, blocks appear; a bucket of 128 has room for them and for what comes into the grid."""
    blocks = [Box(MANMADE, (x, y), (1.2, 1.2), 4, 12) for x in (-9.0, 4.2, 13.8) for y in (-25.0, -20.2, 20.2)]
    street = [*STREET, house(0.3), house(20.3)]
    views = [View([*street, *(blocks if n > 8 else [])], (0.5 * n, 0.0, 0.0)) for n in range(10)]
    tick = exact().run(told(scene) for scene in observed(views))[-1]
    differs = semantics_of(views[-1]) != semantics_of(views[-1]._replace(boxes=street))
    changed = np.zeros((COLUMNS, COLUMNS), int)
    np.add.at(changed, tuple(np.argwhere(differs.any(2)).T // 4), 1)
    stale = np.flatnonzero(changed.ravel() >= 6)
    missed = np.setdiff1d(stale, tick.selection.order[:128].numpy())
    assert len(stale) >= 9 and not len(missed)


def test_what_changes_while_the_ego_drives_is_selected() -> None:
    check_the_pose_is_used(lambda scene: scene)


def test_fake_with_a_wrong_pose_what_changed_is_missed() -> None:
    with pytest.raises(AssertionError):
        check_the_pose_is_used(lambda scene: scene._replace(ego_motion=scene.ego_motion * np.float32([4.0, 1.0, 1.0])))
