"""The change gate: what it selects, what it leaves alone, and that nothing grows stale unseen.

Each check is also run on a deliberate fake, and must fail there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genie.config import GateConfig
from genie.forecast import look_up
from genie.gate import ChangeGate, Selection
from genie.gate_input import cells_of_columns
from genie.gated import CHANGED_WITHIN
from genie.gated_state import ColumnFacts
from genie.model import TrackedOccupancy
from genie.observation import ObservedScene
from genie.rows import WORDS
from perception.types import FREE
from tests.genie.gated_scenes import (
    BUSH,
    CAR,
    COLUMNS,
    DT_S,
    MANMADE,
    STREET,
    WALKER,
    Box,
    GateLoop,
    Ticked,
    View,
    car,
    columns_of,
    house,
    observed,
    semantics_of,
)

Loop = Callable[[], GateLoop]
STANDING = View([*STREET, house(0.0), house(21.0), car(10.0)])
COLUMN = 18 * COLUMNS + 10  # one where nothing is, and its cells
CELLS = (slice(72, 76), slice(40, 44))
DEAF = GateConfig(surprise_above=1e4)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def exact(config: GateConfig | None = None) -> GateLoop:
    """Computes what is needed and no column more."""
    return GateLoop(config, spare=False)


def deaf() -> GateLoop:
    return exact(DEAF)


class Everywhere(GateLoop):
    """A fake: the reference follows the observation, computed or not."""

    def facts(self, selection: Selection, occupancy: TrackedOccupancy, rows: Tensor) -> ColumnFacts:
        cells = cells_of_columns(rows.device)
        reference = look_up(occupancy.rows.reshape(-1, WORDS), cells)
        return super().facts(selection, occupancy, rows)._replace(reference=reference)


class Never(GateLoop):
    """A fake: no refresh."""

    def refresh(self, dt_s: float) -> bool:
        return False


class Always(GateLoop):
    """A fake: a refresh every tick, never a burst."""

    def refresh(self, dt_s: float) -> bool:
        return True


class Blind(GateLoop):
    """A fake: objects are not seen."""

    def facts(self, selection: Selection, occupancy: TrackedOccupancy, rows: Tensor) -> ColumnFacts:
        facts = super().facts(selection, occupancy, rows)
        return facts._replace(occupied=torch.ones_like(facts.occupied))


# What stands


def check_a_standing_stream_is_quiet(loop: GateLoop) -> None:
    ticks = loop.run(observed([STANDING] * 80))
    assert ticks[0].bucket == loop.config.buckets[-1]
    smallest = [tick.bucket == loop.config.buckets[0] for tick in ticks]
    assert np.mean(smallest) >= 0.85
    assert max(tick.needed for tick in ticks[1:]) == 0


def test_a_standing_ego_in_a_static_scene_takes_the_smallest_bucket() -> None:
    check_a_standing_stream_is_quiet(GateLoop())


def test_fake_a_gate_that_is_never_content_is_not_quiet() -> None:
    with pytest.raises(AssertionError):
        check_a_standing_stream_is_quiet(GateLoop(GateConfig(surprise_above=0.0)))


def check_a_change_is_selected(loop: GateLoop) -> None:
    before = semantics_of(STANDING)
    after = before.copy()
    after[(*CELLS, slice(2, 8))] = MANMADE
    *_, quiet, tick = loop.run(observed([before, before, after]))
    assert quiet.needed == 0
    assert tick.needed == 1 and tick.rows.tolist() == [COLUMN]
    assert tick.selection.changed.nonzero().flatten().tolist() == [COLUMN]


def test_one_change_above_the_threshold_is_selected_and_nothing_else() -> None:
    check_a_change_is_selected(exact())


@pytest.mark.parametrize("fake", [deaf, lambda: exact(GateConfig(surprise_above=0.0))])
def test_fake_a_gate_of_another_threshold_does_not_select_just_that(fake: Loop) -> None:
    with pytest.raises(AssertionError):
        check_a_change_is_selected(fake())


def test_a_thing_that_vanishes_is_selected() -> None:
    before = semantics_of(STANDING)
    before[72:74, 40:42, 2:10] = MANMADE
    tick = exact().run(observed([before, before, semantics_of(STANDING)]))[-1]
    assert tick.rows.tolist() == [COLUMN]


def test_a_thin_thing_that_appears_is_selected() -> None:
    """A wall one cell thick: each cell of the reference still finds a free neighbour, but what is seen finds none."""
    after = semantics_of(STANDING)
    after[72:76, 41, 2:10] = MANMADE
    tick = exact().run(observed([STANDING, STANDING, after]))[-1]
    assert tick.rows.tolist() == [COLUMN]


def check_a_slow_ramp_is_caught(loop: GateLoop) -> None:
    """A pole sinks by a voxel every third frame. Against the frame before, never more than one word differs."""
    views = []
    for frame in range(30):
        semantics = semantics_of(STANDING)
        semantics[73, 41, 2 : 12 - frame // 3] = MANMADE
        views.append(semantics)
    ticks = loop.run(observed(views))
    caught = [n for n, tick in enumerate(ticks) if n and COLUMN in tick.rows]
    assert caught, "it drifted away unseen"
    assert 3 < caught[0] <= 3 * 6, (
        "a word holds four voxels, and one up or down is no surprise: six steps at the latest"
    )


def test_a_slow_ramp_below_the_threshold_is_caught() -> None:
    check_a_slow_ramp_is_caught(exact())


def test_fake_a_reference_that_follows_everywhere_loses_the_ramp() -> None:
    with pytest.raises(AssertionError, match="drifted"):
        check_a_slow_ramp_is_caught(Everywhere(spare=False))


def check_half_a_voxel_is_no_change(loop: GateLoop) -> None:
    """The ego creeps by half a voxel: every border of the walls is sampled on the other side of some centre."""
    boxes = [*STREET, house(0.3), house(20.3)]
    *_, tick = loop.run(observed([View(boxes), View(boxes), View(boxes, (0.2, 0.2, 0.0))]))
    assert tick.needed == 0


def test_a_wall_at_half_a_voxel_is_not_selected() -> None:
    check_half_a_voxel_is_no_change(exact())


def test_fake_without_the_bracket_half_a_voxel_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genie.gate.surprise", _nearest_cell_alone)
    with pytest.raises(AssertionError):
        check_half_a_voxel_is_no_change(exact())


def _nearest_cell_alone(seen, expected):
    from genie.gate_input import GRID, SIDE, cell_offsets

    at = (expected.place[:, None, :2] + cell_offsets(torch.device("cpu")) - GRID.origin[0]) / GRID.voxel_size
    cell = at.clamp(0, SIDE - 0.01).to(torch.int32)
    found = look_up(seen.rows, cell[..., 0] * SIDE + cell[..., 1])
    return (found != expected.reference).float().sum(dim=(1, 2)), torch.zeros(len(expected.age))


def with_walker(i: int) -> NDArray[np.uint8]:
    semantics = semantics_of(STANDING)
    semantics[i, 41, 2:6] = WALKER
    return semantics


def check_a_step_of_a_walker_is_selected(scenes: Sequence[ObservedScene]) -> None:
    """By a gate that hears nothing else."""
    quiet, tick = deaf().run(scenes)[-2:]
    assert quiet.needed == 0
    assert tick.rows.tolist() == [COLUMN]


def test_a_pedestrian_that_moves_by_one_cell_is_selected() -> None:
    """No tolerance hides small things."""
    check_a_step_of_a_walker_is_selected(list(observed([with_walker(i) for i in (73, 73, 73, 74)])))


def test_fake_with_the_tolerance_of_large_things_the_step_is_lost() -> None:
    scenes = observed([with_walker(i) for i in (73, 73, 73, 74)])
    with pytest.raises(AssertionError):
        check_a_step_of_a_walker_is_selected([s._replace(small=np.zeros_like(s.small)) for s in scenes])


# What moves


def with_car(xs: Sequence[float]) -> list[View]:
    return [View([*STREET, house(0.0), car(x)]) for x in xs]


def check_a_steady_car_is_cheap(loop: GateLoop, speed: float) -> None:
    ticks = loop.run(observed(with_car(-25.0 + speed * DT_S * np.arange(45))))
    assert max(tick.needed for tick in ticks[1:]) <= 12


@pytest.mark.parametrize("speed", [3.3, 7.0, 10.0])
def test_a_car_at_constant_velocity_selects_few_columns(speed: float) -> None:
    check_a_steady_car_is_cheap(exact(), speed)


class Frozen(GateLoop):
    """A fake: nothing is expected to move."""

    def facts(self, selection: Selection, occupancy: TrackedOccupancy, rows: Tensor) -> ColumnFacts:
        facts = super().facts(selection, occupancy, rows)
        return facts._replace(velocity=torch.zeros_like(facts.velocity), moves=torch.zeros_like(facts.moves))


def selected_of_a_steady_car(loop: GateLoop) -> int:
    ticks = loop.run(observed(with_car(-25.0 + 10.0 * DT_S * np.arange(45))))
    return sum(tick.needed for tick in ticks[10:])


def test_fake_a_forecast_of_still_objects_is_surprised_by_a_steady_car() -> None:
    moved, frozen = selected_of_a_steady_car(exact()), selected_of_a_steady_car(Frozen(spare=False))
    assert frozen > 3 * moved


BRAKES_AT = 20


def braking(deceleration: float) -> tuple[list[View], NDArray[np.float64]]:
    """From 10 m/s; and how far each frame is behind where constant velocity would be (m)."""
    x, speed, xs = -25.0, 10.0, []
    for frame in range(BRAKES_AT + 12):
        xs.append(x)
        if frame >= BRAKES_AT:
            speed = max(0.0, speed - deceleration * DT_S)
        x += speed * DT_S
    return with_car(xs), -25.0 + 10.0 * DT_S * np.arange(len(xs)) - xs


def own_changes(loop: GateLoop, views: list[View]) -> list[NDArray[np.int64]]:
    """Of each tick, the columns of the car that were selected because they changed."""
    selected = []
    for scene in observed(views):
        tick = loop.tick(scene)
        changed = tick.selection.changed.nonzero().flatten().numpy()
        selected.append(np.intersect1d(np.intersect1d(changed, tick.rows), columns_of(scene.semantics == CAR)))
    return selected


def check_hard_braking_is_seen(loop: GateLoop, deceleration: float, columns: int) -> None:
    views, behind = braking(deceleration)
    selected = own_changes(loop, views)
    first = int(np.argmax(behind > 0.4))  # the first frame in which it is a voxel off
    assert sum(map(len, selected[first - 4 : BRAKES_AT + 1])) == 0
    assert sum(map(len, selected[first : first + 2])) >= columns, "not within 0.2 s"


@pytest.mark.parametrize(("deceleration", "columns"), [(9.0, 2), (1e3, 5)])
def test_hard_braking_selects_the_car_within_a_fifth_of_a_second(deceleration: float, columns: int) -> None:
    """An emergency stop; and a crash, of which more than half of the six to eight columns are selected."""
    check_hard_braking_is_seen(exact(), deceleration, columns)


def test_fake_a_deaf_gate_misses_the_braking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deaf for voxels, and for velocities that are not the forecast's."""
    monkeypatch.setattr("genie.gate.OFF_M", 1e3)
    with pytest.raises(AssertionError, match=r"0\.2 s"):
        check_hard_braking_is_seen(deaf(), 9.0, 2)


def check_a_car_that_comes_is_seen_at_once(loop: GateLoop, xs: Sequence[float]) -> None:
    covered: set[int] = set()
    for n, scene in enumerate(observed(with_car(xs))):
        tick = loop.tick(scene)
        now = set(columns_of(scene.semantics == CAR).tolist())
        assert n == 0 or now - covered <= set(tick.rows.tolist()), f"frame {n}"
        covered = now
    assert covered


ENTERS = [-44.0, -44.0, -42.0, -41.3, -40.6, -39.9]  # over the border of the grid
APPEARS = [-60.0, -60.0, 15.0, 15.0]  # from behind something


@pytest.mark.parametrize("xs", [ENTERS, APPEARS])
def test_a_car_that_comes_is_selected_at_once(xs: list[float]) -> None:
    check_a_car_that_comes_is_seen_at_once(exact(), xs)


@pytest.mark.parametrize("xs", [ENTERS, APPEARS])
def test_fake_blind_for_objects_it_is_not(xs: list[float]) -> None:
    with pytest.raises(AssertionError, match="frame"):
        check_a_car_that_comes_is_seen_at_once(Blind(DEAF, spare=False), xs)


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
