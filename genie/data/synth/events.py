"""What happens in a scene, read off its tracks: the truth that a change gate is judged on.

Only what is inside the labels' square counts, and only what somebody drives or walks: parked cars that come into view
because the ego drives are no events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.categories import CATEGORIES
from genie.data.synth.config import DT, STREAM_HZ
from genie.data.synth.polylines import Array, unit
from genie.data.synth.scenery import CELL
from genie.data.synth.sight import azimuth_bin, eye_of, opaque, seen_bins, wall_range
from genie.data.synth.world import Boxes, World, in_ego
from perception.types import GRID

KINDS = (
    "vehicle_enters", "vehicle_leaves", "vehicle_uncovered", "lane_change", "hard_braking", "pedestrian_on_road",
    "ego_turns", "ego_stands",
)  # fmt: skip
EGO = -1
HALF = -GRID.origin[0]  # m, of the labels' square
REACH = 9.0  # m that a footprint may reach from its centre
HIDDEN, SEEN = 0.1, 0.35  # visible share of a vehicle below and above which it is covered and uncovered
HIDDEN_FOR = 0.5  # s that it was covered before
HARD_BRAKING = -3.0  # m/s2
TURN_RATE, TURN = 0.1, 0.5  # rad/s and rad that make a turn of the ego
STANDS_BELOW, STANDS_FOR = 0.2, 1.0  # m/s, s
_VEHICLE = np.array([c.name.startswith("vehicle") for c in CATEGORIES])
_PERSON = np.array([c.name.startswith("human") for c in CATEGORIES])
# Points of a footprint in half lengths and half widths, [15, 2].
_SPOTS = np.stack(np.meshgrid(np.linspace(-0.95, 0.95, 5), (-0.9, 0.0, 0.9), indexing="ij"), -1).reshape(-1, 2)


class Event(NamedTuple):
    """Something that changes the scene.

    t:        seconds since the start of the scene; the change shows from here on.
    kind:     one of KINDS.
    instance: of the world's boxes; EGO for the ego.
    x, y, z:  where it shows at t, in the world of the ego poses (m). What leaves was last seen there.
    """

    t: float
    kind: str
    instance: int
    x: float
    y: float
    z: float


class _Frames(NamedTuple):
    """Every DT: all boxes, which of them are inside the square, and what of each shows there.

    inside: bool [T, n], some of it is in the labels' square. within: [T, n, 2], the middle of that part (m).
    shows: [T, n], visible share. visible: [T, n, 2], the middle of the visible part (m).
    """

    t: Array
    point: Array
    z: Array
    inside: NDArray[np.bool_]
    within: Array
    shows: Array
    visible: Array
    on_road: NDArray[np.bool_]


def scene_events(world: World, duration: float) -> list[Event]:
    """All events of the first `duration` seconds, in order of time."""
    frames = _read(world, duration)
    instances = np.arange(len(world.kind))
    vehicles = instances[_VEHICLE[world.kind] & ~world.parked]
    people = instances[_PERSON[world.kind] & ~world.parked]
    found = [
        *_entering(frames, vehicles),
        *_uncovered(frames, vehicles),
        *_braking(frames, vehicles),
        *_stepping(frames, people),
        *_lane_changes(frames, world),
        *_ego(world, frames.t),
    ]
    return sorted(found, key=lambda e: (e.t, KINDS.index(e.kind), e.instance))


def _read(world: World, duration: float) -> _Frames:
    times = np.arange(round(min(duration, world.duration) * STREAM_HZ) + 1) * DT
    blocks = opaque(world.scenery)
    limit = np.array(world.scenery.ground.shape) - 1
    count = (len(times), len(world.kind))
    point, z, shows = np.zeros((*count, 2)), np.zeros(count), np.zeros(count)
    inside, on_road = np.zeros(count, bool), np.zeros(count, bool)
    within, visible = np.zeros_like(point), np.zeros_like(point)
    for i, t in enumerate(times):
        boxes, ego = world.boxes(t), world.ego(t)
        point[i], z[i] = boxes.centre[:, :2], boxes.centre[:, 2]
        cells = np.clip((point[i] / CELL).astype(int), 0, limit)
        on_road[i] = world.crossing(t) & world.scenery.drivable[cells[:, 0], cells[:, 1]]
        within[i], visible[i] = point[i], point[i]
        near = (np.abs(in_ego(boxes, ego)[:, :2]) < HALF + REACH).all(1)
        spots = _spots(boxes.select(near))
        cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
        in_square = (np.abs((spots - ego.xyz[:2]) @ np.array([[cos, -sin], [sin, cos]])) < HALF).all(-1)
        inside[i, near], within[i, near] = in_square.any(1), _mean(spots, in_square)
        seen = _seen(boxes.select(near), spots, eye_of(ego), blocks)
        shows[i, near], visible[i, near] = seen.mean(1), _mean(spots, seen)
    return _Frames(times, point, z, inside, within, shows, visible, on_road)


def _spots(boxes: Boxes) -> Array:
    """Points all over each footprint, [n, 15, 2] (m)."""
    ahead = unit(boxes.yaw)[:, None] * boxes.size[:, None, 1:2] / 2
    aside = unit(boxes.yaw + np.pi / 2)[:, None] * boxes.size[:, None, 0:1] / 2
    return boxes.centre[:, None, :2] + _SPOTS[:, :1] * ahead + _SPOTS[:, 1:] * aside


def _mean(spots: Array, which: NDArray[np.bool_]) -> Array:
    """The mean of the chosen points of each footprint, [n, 2]; of all where none is chosen."""
    weight = np.where(which.any(1, keepdims=True), which, True)[..., None]
    return (spots * weight).sum(1) / weight.sum(1)


def _seen(boxes: Boxes, spots: Array, eye: Array, blocks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the points [n, 15, 2] the ego sees: no wall and no vehicle stands before them."""
    _, seen = seen_bins(boxes, eye)
    relative = spots - eye
    bins = azimuth_bin(relative)
    open_ = np.linalg.norm(relative, axis=-1) < wall_range(blocks, eye)[bins] + 0.5
    return open_ & np.take_along_axis(seen, bins, axis=1)


def _rises(state: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(frame, column) where a boolean [T, n] becomes true; what is true at first did not become so."""
    yield from zip(*np.nonzero(state[1:] & ~state[:-1]), strict=True)


def _event(frames: _Frames, frame: int, kind: str, instance: int, point: Array) -> Event:
    t, z = float(frames.t[frame]), float(frames.z[frame, instance])
    return Event(round(t, 3), kind, int(instance), round(float(point[0]), 3), round(float(point[1]), 3), round(z, 3))


def _entering(frames: _Frames, vehicles: NDArray[np.int64]) -> Iterator[Event]:
    inside = frames.inside[:, vehicles]
    for frame, column in _rises(inside):
        v = vehicles[column]
        yield _event(frames, frame + 1, "vehicle_enters", v, frames.within[frame + 1, v])
    for frame, column in _rises(~inside):
        v = vehicles[column]
        yield _event(frames, frame + 1, "vehicle_leaves", v, frames.within[frame, v])


def _uncovered(frames: _Frames, vehicles: NDArray[np.int64]) -> Iterator[Event]:
    hidden_frames = round(HIDDEN_FOR / DT)
    for v in vehicles:
        covered = 0
        for frame, (inside, share) in enumerate(zip(frames.inside[:, v], frames.shows[:, v], strict=True)):
            if not inside:
                covered = 0
            elif share < HIDDEN:
                covered += 1
            elif share > SEEN:
                if covered >= hidden_frames:
                    yield _event(frames, frame, "vehicle_uncovered", v, frames.visible[frame, v])
                covered = 0


def _braking(frames: _Frames, vehicles: NDArray[np.int64]) -> Iterator[Event]:
    """Over 0.3 s, so that one step of the simulation does not count."""
    speed = np.linalg.norm(np.diff(frames.point[:, vehicles], axis=0), axis=-1) / DT
    if len(speed) < 4:
        return
    hard = np.zeros((len(frames.t), len(vehicles)), bool)
    hard[4:] = (speed[3:] - speed[:-3]) / (3 * DT) < HARD_BRAKING
    hard &= frames.inside[:, vehicles]
    for frame, column in _rises(hard):
        v = vehicles[column]
        if not hard[max(0, frame - 10) : frame + 1, column].any():  # the same braking goes on
            yield _event(frames, frame + 1, "hard_braking", v, frames.within[frame + 1, v])


def _stepping(frames: _Frames, people: NDArray[np.int64]) -> Iterator[Event]:
    for frame, column in _rises(frames.on_road[:, people]):
        v = people[column]
        if frames.inside[frame + 1, v]:
            yield _event(frames, frame + 1, "pedestrian_on_road", v, frames.point[frame + 1, v])


def _lane_changes(frames: _Frames, world: World) -> Iterator[Event]:
    for t, v in world.lane_changes:
        frame = round(t / DT)
        if frame < len(frames.t) and frames.inside[frame, v]:
            yield _event(frames, frame, "lane_change", v, frames.within[frame, v])


def _ego(world: World, times: Array) -> Iterator[Event]:
    poses = [world.ego(t) for t in times]
    if len(poses) < 2:
        return
    xyz, yaw = np.array([p.xyz for p in poses]), np.array([p.yaw for p in poses])
    rate = np.diff(yaw) / DT
    speed = np.linalg.norm(np.diff(xyz, axis=0), axis=1) / DT
    found = [
        ("ego_turns", start) for start, end in _runs(np.abs(rate) > TURN_RATE) if abs(yaw[end] - yaw[start]) > TURN
    ]
    found += [("ego_stands", start) for start, end in _runs(speed < STANDS_BELOW) if (end - start) * DT >= STANDS_FOR]
    for kind, start in found:
        x, y, z = (round(float(v), 3) for v in xyz[start])
        yield Event(round(float(times[start]), 3), kind, EGO, x, y, z)


def _runs(state: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, one past the last) of each stretch of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], state, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
