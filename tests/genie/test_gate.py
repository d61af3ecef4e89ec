"""The change gate: what it selects and what it leaves alone, of what stands and of what moves.

Each check is also run on a deliberate fake, and must fail there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from genie.config import GateConfig
from genie.forecast import look_up
from genie.gate import Selection
from genie.gated_state import ColumnFacts
from genie.model import TrackedOccupancy
from genie.observation import ObservedScene
from tests.genie.gate_loops import CELLS, COLUMN, DEAF, STANDING, Blind, Everywhere, Loop, deaf, exact
from tests.genie.gated_scenes import (
    CAR,
    DT_S,
    MANMADE,
    STREET,
    WALKER,
    GateLoop,
    View,
    car,
    columns_of,
    house,
    observed,
    semantics_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
