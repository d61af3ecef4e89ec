"""One scene's world: what is where at any instant. Rasteriser, tables and later the sensors read only this."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.categories import BY_NAME
from genie.data.synth.config import DT, STREAM_HZ, SynthConfig
from genie.data.synth.furniture import Standing, furnish
from genie.data.synth.polylines import Array, unit
from genie.data.synth.scenery import Scenery, paint
from genie.data.synth.town import Town, build_town
from genie.data.synth.traffic import Traffic
from genie.data.synth.walkers import Vehicles, Walkers

WARM_UP = 250  # steps before the scene begins: queues have formed, and trailers have a path to follow
REAR_AXLE = 1.1  # m from the centre of the ego vehicle back to its frame
PITCH_PER_MPS2, ROLL_PER_MPS2 = 0.0045, 0.006  # rad of a car's body under acceleration along and across
MAX_TILT = 0.02  # rad


@dataclass(frozen=True)
class Boxes:
    """Instances at one instant, world frame.

    instance: int [n], constant over the scene. kind: int [n], index into CATEGORIES. centre: [n, 3] (m).
    size: [n, 3], w, l, h (m). yaw: [n] (rad). velocity: [n, 2] (m/s). parked: bool [n], has nobody who could move it.
    """

    instance: NDArray[np.int64]
    kind: NDArray[np.int64]
    centre: Array
    size: Array
    yaw: Array
    velocity: Array
    parked: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.instance)

    def select(self, which: NDArray[np.bool_]) -> Boxes:
        return Boxes(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class EgoPose:
    """The ego frame (rear axle, on the ground) in the world.

    xyz: [3] (m); z is 0, as nuScenes records it. yaw, pitch, roll: rad about z, y (to the left, so a positive pitch
    points the nose down) and x.
    """

    xyz: Array
    yaw: float
    pitch: float = 0.0
    roll: float = 0.0

    @property
    def world_from_ego(self) -> Array:
        """translate(xyz) Rz(yaw) Ry(pitch) Rx(roll), [4, 4]."""
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (self.yaw, self.pitch, self.roll))
        out = np.eye(4)
        out[:3, :3] = [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
        out[:3, 3] = self.xyz
        return out


def in_ego(boxes: Boxes, ego: EgoPose) -> Array:
    """Box centres in the ego frame, [n, 3] (m)."""
    relative = boxes.centre - ego.xyz
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    x, y = relative[:, 0] * cos + relative[:, 1] * sin, relative[:, 1] * cos - relative[:, 0] * sin
    return np.stack([x, y, relative[:, 2]], axis=1)


@dataclass(frozen=True)
class Elevation:
    """Gentle slopes. The labels' ground is flat and the ego's z is 0, so slopes show as boxes that ride up or down
    with their distance from the ego, as they do in nuScenes."""

    waves: Array  # [k, 4]: wave vector x, y (rad/m), phase, amplitude (m)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Elevation:
        length, angle = rng.uniform(120, 500, 4), rng.uniform(0, 2 * np.pi, 4)
        amplitude = rng.normal(0, 0.0055, 4) * length / (2 * np.pi) * 1.4
        k = 2 * np.pi / length
        return cls(np.stack([k * np.cos(angle), k * np.sin(angle), rng.uniform(0, 2 * np.pi, 4), amplitude], axis=1))

    def at(self, points: Array) -> Array:
        """Height (m) at points [..., 2]."""
        phase = points @ self.waves[:, :2].T + self.waves[:, 2]
        return (np.sin(phase) * self.waves[:, 3]).sum(-1)

    def slope(self, points: Array) -> Array:
        """Rise per metre along x and y at points [..., 2], [..., 2]."""
        phase = points @ self.waves[:, :2].T + self.waves[:, 2]
        return (np.cos(phase) * self.waves[:, 3]) @ self.waves[:, :2]


def body_tilt(point: Array, yaw: Array, elevation: Elevation) -> Array:
    """Pitch and roll (rad, [T, 2]) of a car at `point` [T, 2] with `yaw` [T], every DT: it lies on the road, dives as
    it brakes, and leans out of bends. Bounded, and as smooth as springs make it."""
    ahead = unit(yaw)
    velocity = _smooth(np.gradient(point, DT, axis=0), 5)
    push = np.gradient(velocity, DT, axis=0)
    left = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    along, across = (push * ahead).sum(1), (push * left).sum(1)
    slope = elevation.slope(point)
    pitch = -PITCH_PER_MPS2 * along - (slope * ahead).sum(1)
    roll = ROLL_PER_MPS2 * across + (slope * left).sum(1)
    return MAX_TILT * np.tanh(_smooth(np.stack([pitch, roll], axis=1), 5) / MAX_TILT)


def _smooth(series: Array, steps: int) -> Array:
    """[T, 2] under a Hann window of about twice as many steps; the ends are held."""
    window = np.hanning(2 * steps + 3)[1:-1]
    held = np.concatenate([np.repeat(series[:1], steps, 0), series, np.repeat(series[-1:], steps, 0)])
    return np.stack([np.convolve(column, window / window.sum(), "valid") for column in held.T], axis=1)


@dataclass(frozen=True)
class Tracks:
    """point: [T, n, 2] (m). yaw: [T, n] (rad). kind: [n]. size: [n, 3] (m).

    crossing: bool [T, n], is on its way over a road. lane_changes: [k, 2], seconds and column of what changes lane.
    """

    point: Array
    yaw: Array
    kind: NDArray[np.int64]
    size: Array
    crossing: NDArray[np.bool_]
    lane_changes: Array


class World:
    """One scene of `duration` seconds. `ego` is a column of the tracks, `bottom` [n] in metres."""

    def __init__(
        self,
        town: Town,
        scenery: Scenery,
        *,
        tracks: Tracks,
        standing: list[Standing],
        ego: int,
        elevation: Elevation,
        bottom: Array,
    ) -> None:
        self.town, self.scenery, self.elevation = town, scenery, elevation
        others = np.arange(len(tracks.kind)) != ego
        self._ego_point, self._ego_yaw = tracks.point[:, ego], np.unwrap(tracks.yaw[:, ego])
        self._point, self._yaw = tracks.point[:, others], np.unwrap(tracks.yaw[:, others], axis=0)
        still = len(standing)
        self._still_point = np.array([x.point for x in standing]).reshape(still, 2)
        self._still_yaw = np.array([x.heading for x in standing])
        self.kind = np.concatenate([tracks.kind[others], np.array([x.kind for x in standing], dtype=np.int64)])
        self.size = np.concatenate([tracks.size[others], np.array([x.size for x in standing]).reshape(still, 3)])
        self.parked = np.arange(len(self.kind)) >= others.sum()
        self._crossing = tracks.crossing[:, others]
        instance_of = np.cumsum(others) - 1
        kept = tracks.lane_changes[tracks.lane_changes[:, 1] != ego]
        self.lane_changes = [(float(t), int(instance_of[int(column)])) for t, column in kept]
        self._bottom = bottom[: len(self.kind)]
        self.duration = (len(tracks.point) - 1) / STREAM_HZ
        self._tilt = body_tilt(self._ego_point, self._ego_yaw, elevation)

    def _bracket(self, t: float) -> tuple[int, float]:
        # The first keyframe's revolution and images begin up to 50 ms before it: as the first step goes.
        u = min(max(t * STREAM_HZ, -0.5), self.duration * STREAM_HZ)
        low = min(int(u + 1e-9), len(self._ego_point) - 2)
        return low, u - low

    def ego(self, t: float) -> EgoPose:
        """The ego pose at `t` seconds after the start."""
        i, f = self._bracket(t)
        yaw = float(self._ego_yaw[i] * (1 - f) + self._ego_yaw[i + 1] * f)
        centre = self._ego_point[i] * (1 - f) + self._ego_point[i + 1] * f
        pitch, roll = self._tilt[i] * (1 - f) + self._tilt[i + 1] * f
        return EgoPose(np.append(centre - REAR_AXLE * unit(yaw), 0.0), yaw, float(pitch), float(roll))

    def datum(self, t: float) -> float:
        """Height (m) of the ground under the ego at `t`: recorded z + datum is z above the town's own zero."""
        return float(self.elevation.at(self.ego(t).xyz[:2]))

    def boxes(self, t: float) -> Boxes:
        """All instances at `t` seconds after the start; the ego vehicle is not one of them."""
        i, f = self._bracket(t)
        still = len(self._still_point)
        point = np.concatenate([self._point[i] * (1 - f) + self._point[i + 1] * f, self._still_point])
        yaw = np.concatenate([self._yaw[i] * (1 - f) + self._yaw[i + 1] * f, self._still_yaw])
        velocity = np.concatenate([(self._point[i + 1] - self._point[i]) * STREAM_HZ, np.zeros((still, 2))])
        rise = self.elevation.at(point) - self.datum(t)
        centre = np.concatenate([point, (self._bottom + rise + self.size[:, 2] / 2)[:, None]], axis=1)
        return Boxes(np.arange(len(self.kind)), self.kind, centre, self.size, yaw, velocity, self.parked)

    def crossing(self, t: float) -> NDArray[np.bool_]:
        """Which instances are people on their way over a road, [n]."""
        still = np.zeros(len(self._still_point), bool)
        return np.concatenate([self._crossing[round(self._bracket(t)[0] + self._bracket(t)[1])], still])


def scene_world(config: SynthConfig, index: int) -> World:
    """The world of scene `index` (from 0). It depends on seed, index and length, not on the other scenes."""
    return build_world(np.random.default_rng([config.seed, index]), config.frames)


def build_world(rng: np.random.Generator, frames: int) -> World:
    """Draws a town, lets its traffic run, and chooses whose seat the ego takes."""
    town = build_town(rng)
    scenery, lots = paint(town, rng)
    standing = furnish(town, lots, rng)
    traffic = Traffic(town, rng, per_km=float(np.exp(rng.normal(2.9, 0.5))))
    walkers = Walkers(town, rng, per_km=min(110.0, float(np.exp(rng.normal(3.6, 0.8)))))
    tracks = _simulate(traffic, walkers, frames)
    ego = _choose_ego(tracks, rng)
    count = len(tracks.kind) + len(standing)
    return World(
        town,
        scenery,
        tracks=tracks,
        standing=standing,
        ego=ego,
        elevation=Elevation.draw(rng),
        bottom=rng.normal(0.03, 0.04, count).clip(-0.05, 0.12),
    )


def _simulate(traffic: Traffic, walkers: Walkers, frames: int) -> Tracks:
    points, headings, crossing = [], [], []
    for step in range(WARM_UP + frames):
        if step:
            walkers.step(_seen(traffic))
            traffic.step(walkers.crossing())
        vehicle_point, vehicle_heading = traffic.pose()
        points.append(np.concatenate([vehicle_point, walkers.point]))
        headings.append(np.concatenate([vehicle_heading, walkers.heading]))
        crossing.append(np.concatenate([np.zeros(len(vehicle_point), bool), walkers.crosses()]))
    point, yaw = np.stack(points), np.unwrap(np.stack(headings), axis=0)
    trailers = _trailers(traffic, point)
    changes = [((change.step - WARM_UP) * DT, change.vehicle) for change in traffic.lane_changes]
    return Tracks(
        np.concatenate([point, trailers.point], axis=1)[WARM_UP:],
        np.concatenate([yaw, trailers.yaw], axis=1)[WARM_UP:],
        np.concatenate([traffic.kind, walkers.kind, trailers.kind]),
        np.concatenate([traffic.size, walkers.size, trailers.size]),
        np.concatenate([np.stack(crossing), trailers.crossing], axis=1)[WARM_UP:],
        np.array([change for change in changes if change[0] > 0]).reshape(-1, 2),
    )


def _seen(traffic: Traffic) -> Vehicles:
    point, heading = traffic.pose()
    return Vehicles(point, heading, traffic.speed, traffic.front, traffic.rear, traffic.size[:, 0] / 2)


def _trailers(traffic: Traffic, point: Array) -> Tracks:
    """Trailers follow the path that their truck has driven, one coupling length behind."""
    steps = len(point)
    pulling = []
    for v in np.flatnonzero(traffic.tail > 0):
        driven = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(point[:, v], axis=0), axis=1))])
        # One that stood in the warm-up has no path that its trailer could follow.
        if driven[WARM_UP] > 25:
            pulling.append((v, driven + 1e-6 * np.arange(steps)))  # strictly rising, as interpolation wants it
    out_point, out_yaw = np.zeros((steps, len(pulling), 2)), np.zeros((steps, len(pulling)))
    for n, (v, driven) in enumerate(pulling):
        coupling = traffic.front[v] + 1.0
        head, tail = (
            np.stack([np.interp(driven - behind, driven, point[:, v, k]) for k in (0, 1)], axis=-1)
            for behind in (coupling, coupling + traffic.tail[v])
        )
        out_point[:, n] = (head + tail) / 2
        out_yaw[:, n] = np.unwrap(np.arctan2(head[:, 1] - tail[:, 1], head[:, 0] - tail[:, 0]))
    trucks = [v for v, _ in pulling]
    size = np.stack([traffic.size[trucks, 0], traffic.tail[trucks], traffic.size[trucks, 2]], axis=1)
    never = np.zeros((steps, len(trucks)), bool)
    return Tracks(out_point, out_yaw, np.full(len(trucks), BY_NAME["vehicle.trailer"]), size, never, np.zeros((0, 2)))


def _choose_ego(tracks: Tracks, rng: np.random.Generator) -> int:
    """The ego is one of the cars, so it drives like the others. What it does in the scene is drawn first."""
    cars = np.flatnonzero(tracks.kind == BY_NAME["vehicle.car"])
    speed = np.linalg.norm(np.diff(tracks.point[:, cars], axis=0), axis=-1) * STREAM_HZ
    stands = (speed < 0.3).mean(0)
    turned = np.ptp(np.unwrap(tracks.yaw[:, cars], axis=0), axis=0)
    manner = rng.choice(["any", "turns", "fast", "stops", "stands"], p=[0.18, 0.22, 0.19, 0.16, 0.25])
    score = {
        "any": stands < 0.5,
        "turns": (turned > 0.7) & (stands < 0.6),
        "fast": (speed.mean(0) > 8) & (stands < 0.05),
        "stops": (stands > 0.1) & (stands < 0.6),
        "stands": stands > 0.65,
    }[str(manner)]
    pool = cars[score] if score.any() else cars
    return int(pool[int(rng.integers(len(pool)))])
