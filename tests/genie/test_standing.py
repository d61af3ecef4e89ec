"""What stands is not made to drive by its centroid, and what drives is not made to stand.

Each check is also run on a deliberate fake, and must fail there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from genie.observation import KIND, MEASURED, SLOW, observe, start_observer
from genie.standing import LOOKS_S, see, standing
from perception.types import CLASS_NAMES, MOVABLE
from tests.genie.gated_scenes import STREET, WALKER, Box, View, car, frames_of, observed

TRUCK, BUS = CLASS_NAMES.index("truck"), CLASS_NAMES.index("bus")


def long_one(kind: int, x: float, y: float = 2.5) -> Box:
    return Box(kind, (x, y), (6.0, 1.3), 2, 9)


def speeds(views: Iterable[View], kind: int, columns: slice = MEASURED, dt_s: float = 0.1) -> np.ndarray:
    """Of the objects of a class in the last view, fastest first."""
    *_, last = observed(views, dt_s)
    of_kind = last.objects[:, KIND][:, MOVABLE.index(kind)] > 0
    return np.sort(np.linalg.norm(last.objects[of_kind, columns], axis=-1))[::-1]


def drive(boxes: Callable[[float], list[Box]], ego_mps: float = 0.0, seconds: float = 1.4) -> list[View]:
    """boxes: at a time."""
    return [View([*STREET, *boxes(t)], (ego_mps * t, 0.0, 0.0)) for t in np.arange(0.0, seconds + 0.01, 0.1)]


def nobody_stands(components, speed, past) -> np.ndarray:
    return np.zeros(len(components), bool)


def looks_once(components, speed, past) -> np.ndarray:
    """One second back, and at nothing else."""
    frames = [seen for seen in past if abs((past[-1].stamp_us - seen.stamp_us) * 1e-6 - 1.0) < 0.06]
    return standing(components, speed, (*frames, past[-1]))


# What stands


def check_a_truck_at_the_border_stands() -> None:
    """The ego drives towards it, and sees more of it in every frame: the centroid comes nearer than the truck."""
    views = drive(lambda t: [long_one(TRUCK, 46.0)], ego_mps=6.0)
    assert speeds(views, TRUCK, SLOW)[0] > 1.0, "its centroid does not move"
    assert speeds(views, TRUCK)[0] == 0.0


def test_a_parked_truck_that_comes_into_the_grid_stands() -> None:
    check_a_truck_at_the_border_stands()


def test_fake_by_its_centroid_it_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genie.observation.standing", nobody_stands)
    with pytest.raises(AssertionError):
        check_a_truck_at_the_border_stands()


def test_parked_cars_that_part_from_each_other_stand() -> None:
    """Seen as one for a while, for a voxel between them is rounded away."""
    views = drive(lambda t: [car(10.0), car(15.0 if t > 0.7 else 14.7)])
    assert speeds(views, car(0).kind)[0] == 0.0


# What drives


@pytest.mark.parametrize("speed", [1.0, 2.0, 5.0, 15.0])
@pytest.mark.parametrize("ego_mps", [0.0, 6.0])
def test_a_car_that_drives_is_measured(speed: float, ego_mps: float) -> None:
    views = drive(lambda t: [car(-8.0 + speed * t)], ego_mps)
    assert speeds(views, car(0).kind)[0] == pytest.approx(speed, abs=0.25)


def check_a_platoon_drives() -> None:
    """Cars 15 m apart at 15 m/s: where one is, another was a second ago."""
    views = drive(lambda t: [car(x + 15.0 * t) for x in (-51.0, -36.0, -21.0, -6.0, 9.0)], seconds=1.4)
    assert (speeds(views, car(0).kind)[:5] > 10.0).all()


def test_a_platoon_drives() -> None:
    check_a_platoon_drives()


def test_fake_who_looks_back_once_takes_the_platoon_for_parked_cars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genie.observation.standing", looks_once)
    with pytest.raises(AssertionError):
        check_a_platoon_drives()


def check_a_bus_that_leaves_drives() -> None:
    """Its front is beyond the border, where nothing is seen to be new; ground is left behind it."""
    views = drive(lambda t: [long_one(BUS, 35.0 + 4.0 * t)])
    assert speeds(views, BUS)[0] > 1.0


def test_a_bus_that_leaves_the_grid_drives() -> None:
    check_a_bus_that_leaves_drives()


def test_fake_without_the_ground_it_leaves_the_bus_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    from genie import standing as module

    def without(*arguments):
        common, new, _ = compare(*arguments)
        return common, new, np.zeros_like(new)

    compare = module._compare
    monkeypatch.setattr(module, "_compare", without)
    with pytest.raises(AssertionError):
        check_a_bus_that_leaves_drives()


def test_walkers_in_a_crowd_are_not_taken_for_standing() -> None:
    """Where one goes, another was."""
    row = [Box(WALKER, (0.8 * n, -7.0), (0.3, 0.3)) for n in range(-20, 20, 2)]
    views = drive(lambda t: [box._replace(center=(box.center[0] + 1.6 * t, -7.0)) for box in row])
    assert (speeds(views, WALKER) > 1.0).mean() > 0.8


# When


def test_at_2_hz_a_parked_truck_stands_and_a_car_drives() -> None:
    views = [
        View([*STREET, long_one(TRUCK, 46.0), car(-20.0 + 5.0 * t)], (6.0 * t, 0.0, 0.0))
        for t in np.arange(0, 2.1, 0.5)
    ]
    assert speeds(views, TRUCK, dt_s=0.5)[0] == 0.0
    assert speeds(views, car(0).kind, dt_s=0.5)[0] == pytest.approx(5.0, abs=0.25)


def test_only_frames_that_can_be_looked_back_to_are_kept() -> None:
    state = start_observer(keep_evidence=False)
    for frame in frames_of(drive(lambda t: [car(5.0)], seconds=3.0)):
        _, state = observe(frame, state)
    spans = [(state.past[-1].stamp_us - seen.stamp_us) * 1e-6 for seen in state.past]
    assert spans == pytest.approx(np.arange(10, -1, -1) / 10) and spans[0] >= LOOKS_S[-1]


def test_around_holds_every_kind_beside_a_cell() -> None:
    from genie.objects import find_components
    from tests.genie.gated_scenes import semantics_of

    seen = see(find_components(semantics_of(View([car(0.0), Box(WALKER, (20.2, 10.2), (0.3, 0.3))]))), np.eye(4), 0)
    walker = 1 + MOVABLE.index(WALKER)
    cells = np.argwhere(seen.around >> walker & 1)
    own = seen.cells[seen.kind == walker]
    assert len(own) == 1
    assert cells.min(0).tolist() == (own.min(0) - 1).tolist() and cells.max(0).tolist() == (own.max(0) + 1).tolist()
    assert not (seen.around & 1).any(), "free is no kind"


# What is cut by the border


def check_what_is_cut_keeps_its_speed() -> None:
    comes = drive(lambda t: [car(45.0 - 10.0 * t)], seconds=1.0)
    leaves = drive(lambda t: [car(30.0 + 10.0 * t)], seconds=1.1)
    assert speeds(comes, car(0).kind)[0] == pytest.approx(10.0, abs=1.0), "whole for three frames"
    assert speeds(leaves, car(0).kind)[0] == pytest.approx(10.0, abs=1.0), "whole until a moment ago"


def test_a_car_that_comes_or_goes_is_measured_while_it_is_whole() -> None:
    check_what_is_cut_keeps_its_speed()


def test_fake_by_all_its_centroids_it_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genie.tracking.WHOLE_OVER_S", np.inf)
    with pytest.raises(AssertionError):
        check_what_is_cut_keeps_its_speed()
