"""Events are what the tracks say: where, when and to whom it happens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from genie.data.synth.categories import BY_NAME
from genie.data.synth.events import EGO, KINDS, Event, scene_events
from genie.data.synth.furniture import Standing
from genie.data.synth.scenery import CELL, ROAD, SIDEWALK, Scenery
from genie.data.synth.town import build_town
from genie.data.synth.world import Elevation, Tracks, World, build_world, in_ego
from perception.types import FREE

CAR, PERSON, BUS = (BY_NAME[n] for n in ("vehicle.car", "human.pedestrian.adult", "vehicle.bus.rigid"))
T = np.arange(0.0, 8.05, 0.1)
MIDDLE = np.array([100.0, 100.0])


def a_world(tracks: list[tuple[int, np.ndarray]], *, crossing=(), standing=(), lane_changes=(), wall=None) -> World:
    """A road along x through the middle, 12 m wide, and on it an ego (the first track) and others: (kind, [T, 2])."""
    ground = np.full((round(200 / CELL),) * 2, SIDEWALK, np.uint8)
    ground[:, round(94 / CELL) : round(106 / CELL)] = ROAD
    column, palette = np.zeros_like(ground), np.full((2, 16), FREE, np.uint8)
    palette[1, 2:] = 15
    if wall is not None:
        x0, x1, y0, y1 = (round(v / CELL) for v in wall)
        column[x0:x1, y0:y1] = 1
    sizes = {CAR: (1.9, 4.5, 1.6), PERSON: (0.7, 0.7, 1.8), BUS: (2.9, 11.0, 3.4)}
    point = np.stack([p for _, p in tracks], axis=1) + MIDDLE
    yaw = np.zeros(point.shape[:2])
    for n in range(len(tracks)):
        moved = np.gradient(point[:, n], axis=0)
        if np.abs(moved).max() > 1e-3:
            yaw[:, n] = np.unwrap(np.arctan2(moved[:, 1], moved[:, 0]))
    kinds = np.array([kind for kind, _ in tracks])
    on_crossing = np.zeros(point.shape[:2], bool)
    on_crossing[:, list(crossing)] = True
    return World(
        build_town(np.random.default_rng(0)),
        Scenery(ground, column, palette),
        tracks=Tracks(
            point, yaw, kinds, np.array([sizes[k] for k in kinds]), on_crossing, np.array(lane_changes).reshape(-1, 2)
        ),
        standing=list(standing),
        ego=0,
        elevation=Elevation(np.zeros((1, 4))),
        bottom=np.zeros(len(tracks) + len(standing)),
    )


def line(x, y=0.0) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x + 0.0 * T, y + 0.0 * T), axis=1)


EGO_STANDS = (CAR, line(1.1))  # its frame, the rear axle, is in the middle


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [e for e in events if e.kind == kind]


def test_a_car_drives_through_the_square():
    events = scene_events(a_world([EGO_STANDS, (CAR, line(-60 + 16 * T, 3.0))]), 8.0)
    (enters,), (leaves,) = of_kind(events, "vehicle_enters"), of_kind(events, "vehicle_leaves")
    assert enters.t == pytest.approx((20 - 2.25) / 16, abs=0.15)  # its bumper
    assert (enters.x, enters.y) == pytest.approx((60.0, 103.0), abs=2.0)
    assert leaves.t == pytest.approx((100 + 2.25) / 16, abs=0.15)
    assert (leaves.x, leaves.y) == pytest.approx((140.0, 103.0), abs=2.0)
    assert enters.instance == leaves.instance == 0
    assert {e.kind for e in events} == {"vehicle_enters", "vehicle_leaves", "ego_stands"}


def test_a_car_comes_out_from_behind_a_bus_and_from_behind_a_house():
    bus = Standing(BUS, np.array([2.9, 11.0, 3.4]), MIDDLE + np.array([8.0, 5.0]), 0.0)
    behind_bus = scene_events(a_world([EGO_STANDS, (CAR, line(15 + 3.0 * T, 9.0))], standing=[bus]), 8.0)
    moving_away = scene_events(a_world([EGO_STANDS, (CAR, line(15 + 3.0 * T, 9.0))]), 8.0)
    (found,) = of_kind(behind_bus, "vehicle_uncovered")
    assert found.instance == 0 and 5 < found.t < 7.5
    assert not of_kind(moving_away, "vehicle_uncovered")
    house = a_world([EGO_STANDS, (CAR, line(20.0, -20 + 4 * T))], wall=(110, 112, 80, 98))
    (found,) = of_kind(scene_events(house, 8.0), "vehicle_uncovered")
    # The sight line past the end of the wall, from the lidar at x = 0.94: y = -2 * 19.06 / 11.06 at x = 20.
    assert -4.5 < found.y - 100 < -1.0


def test_braking_hard_is_not_braking_softly():
    def drive(rate: float) -> np.ndarray:
        speed = np.maximum(12 - rate * np.maximum(T - 2, 0), 0)
        return line(-30 + np.concatenate([[0], np.cumsum(speed)[:-1]]) * 0.1, 3.0)

    (hard,) = of_kind(scene_events(a_world([EGO_STANDS, (CAR, drive(5.0))]), 8.0), "hard_braking")
    assert 2.0 <= hard.t <= 2.5 and hard.x == pytest.approx(100 - 30 + 12 * hard.t, abs=1.5)
    assert not of_kind(scene_events(a_world([EGO_STANDS, (CAR, drive(2.0))]), 8.0), "hard_braking")


def test_a_pedestrian_steps_off_the_kerb():
    walks = (PERSON, line(10.0, -9 + 1.2 * T))
    (steps,) = of_kind(scene_events(a_world([EGO_STANDS, walks], crossing=[1]), 8.0), "pedestrian_on_road")
    assert steps.t == pytest.approx(2.5, abs=0.2)  # 3 m at 1.2 m/s
    assert (steps.x, steps.y) == pytest.approx((110.0, 94.0), abs=0.3)
    strolls = a_world([EGO_STANDS, (PERSON, line(10 + 1.2 * T, -9.0))])
    assert not of_kind(scene_events(strolls, 8.0), "pedestrian_on_road")


def test_lane_changes_and_the_ego():
    yaw = np.clip(0.4 * (T - 3), 0, 1.2)
    driven = np.cumsum(5 * np.stack([np.cos(yaw), np.sin(yaw)], axis=1), axis=0) * 0.1
    events = scene_events(a_world([(CAR, driven), (CAR, line(10 + 5 * T, 3.0))], lane_changes=[(2.0, 1)]), 8.0)
    (turn,), (change,) = of_kind(events, "ego_turns"), of_kind(events, "lane_change")
    assert turn.instance == EGO and turn.t == pytest.approx(3.0, abs=0.3)
    assert change == (2.0, "lane_change", 0, change.x, change.y, change.z)
    assert (change.x, change.y) == pytest.approx((120.0, 103.0), abs=0.1)
    assert not of_kind(events, "ego_stands")
    stops = np.minimum(T, 3.0) * 5
    (stands,) = of_kind(scene_events(a_world([(CAR, line(stops))]), 8.0), "ego_stands")
    assert stands.t == pytest.approx(3.0, abs=0.11)


def test_events_of_drawn_worlds():
    """Sorted, plain data, equal for equal seeds, in the square, and at the instance that they name."""
    seen = set()
    for index in range(2):
        world = build_world(np.random.default_rng([5, index]), 101)
        events = scene_events(world, 10.0)
        again = scene_events(build_world(np.random.default_rng([5, index]), 101), 10.0)
        assert json.dumps([e._asdict() for e in events]) == json.dumps([e._asdict() for e in again])
        assert [e.t for e in events] == sorted(e.t for e in events)
        assert len(events) > 3
        for event in events:
            seen.add(event.kind)
            assert event.kind in KINDS and 0 <= event.t <= 10.0
            if event.instance == EGO:
                continue
            boxes, ego = world.boxes(event.t), world.ego(event.t)
            assert not boxes.parked[event.instance]
            apart = np.hypot(*(boxes.centre[event.instance, :2] - (event.x, event.y)))
            assert apart <= np.hypot(*boxes.size[event.instance, :2]) / 2 + 2.5  # what leaves: one step ago
            one = boxes.select(np.arange(len(boxes)) == event.instance)
            assert np.abs(in_ego(one, ego)[0, :2]).max() < 40 + 9
    assert {"vehicle_enters", "vehicle_leaves"} <= seen
