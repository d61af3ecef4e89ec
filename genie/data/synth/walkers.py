"""People (and cyclists) on the footpaths: they stroll, stand, turn corners and cross where cars can still stop."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.categories import BY_NAME, CATEGORIES
from genie.data.synth.config import DT
from genie.data.synth.polylines import Array, unit
from genie.data.synth.town import Town

ARM = 0.85  # m that people keep between their centres
MIXTURE = {"human.pedestrian.adult": 0.95, "human.pedestrian.child": 0.036, "vehicle.bicycle": 0.014}


class Vehicles(NamedTuple):
    """What walkers see, one entry per vehicle: centre (m), heading (rad), speed (m/s), and from the centre to the
    front, to the rear (trailer included) and to a side (m)."""

    point: Array
    heading: Array
    speed: Array
    front: Array
    rear: Array
    side: Array


class Crossing(NamedTuple):
    """What the traffic sees of people on the road: point [m, 2] (m), velocity [m, 2] (m/s)."""

    point: Array
    velocity: Array


class Walkers:
    """State arrays, one entry per walker. A walker follows a point that moves along the path links."""

    def __init__(self, town: Town, rng: np.random.Generator, per_km: float) -> None:
        self.paths, self.lines, self.rng = town.paths, town.paths.lines, rng
        weights = np.where(self.paths.crossing, 0.0, self.lines.lengths) * np.exp(
            rng.normal(0, 0.9, len(self.paths.nodes))
        )
        count = int(self.lines.lengths[~self.paths.crossing].sum() / 1000 * per_km)
        link = rng.choice(len(weights), size=count, p=weights / weights.sum())
        s = rng.uniform(0, 1, count) * self.lines.lengths[link]
        direction = rng.choice([-1, 1], count)
        pace = rng.normal(1.24, 0.2, count).clip(0.8, 2.0)
        side = rng.uniform(-0.5, 0.5, count)
        # Couples and groups: some walk beside the one before them.
        for i in np.flatnonzero(rng.random(count) < 0.3):
            if i:
                link[i], direction[i], pace[i] = link[i - 1], direction[i - 1], pace[i - 1]
                s[i] = np.clip(s[i - 1] + rng.choice([-1, 1]) * rng.uniform(0.0, 1.1), 0, self.lines.lengths[link[i]])
                side[i] = side[i - 1] - np.copysign(0.4, side[i - 1])
        self.link, self.s, self.direction, self.side = link, s, direction, side
        self.kind = np.array(
            [BY_NAME[str(k)] for k in rng.choice(list(MIXTURE), count, p=list(MIXTURE.values()))], np.int64
        )
        self.size = np.array([CATEGORIES[k].draw_size(rng) for k in self.kind]).reshape(count, 3)
        cycle = self.kind == BY_NAME["vehicle.bicycle"]
        self.pace = np.where(cycle, rng.uniform(2.8, 5.0, count), pace)
        self.stands_until = np.where(rng.random(count) < 0.17, rng.uniform(0, 90, count), 0.0)
        self.blocked = np.zeros(count, bool)
        self.speed = self.pace.copy()
        self.time = 0.0
        self.point = self._target()
        heading = self.lines.at(self.link, self.s)[1] + np.where(self.direction < 0, np.pi, 0.0)
        self.heading = heading + np.where(self.stands_until > 0, rng.uniform(-np.pi, np.pi, count), 0.0)

    def _target(self) -> Array:
        point, heading = self.lines.at(self.link, self.s)
        lateral = self.side * (self.paths.width[self.link] - 0.7)
        return point + (lateral * self.direction)[:, None] * unit(heading + np.pi / 2)

    def crosses(self) -> NDArray[np.bool_]:
        """Who is on the way over a road, [n]."""
        return self.paths.crossing[self.link] & ~self.blocked

    def crossing(self) -> Crossing:
        """Those who are on the road now."""
        who = self.crosses()
        return Crossing(self.point[who], self.speed[who, None] * unit(self.heading[who]))

    def step(self, vehicles: Vehicles) -> None:
        """Advances by DT, with an eye on the vehicles."""
        # Those who wait look again about three times a second.
        for i in np.flatnonzero(self.blocked & (self.rng.random(len(self.s)) < 3 * DT)):
            self.blocked[i] = not self._safe(int(self.link[i]), vehicles)
        walking = ~self.blocked & (self.stands_until <= self.time) & ~self._faces(vehicles)
        # Some stop to look, to talk, to wait for somebody; never on the road.
        pause = walking & ~self.paths.crossing[self.link] & (self.rng.random(len(self.s)) < DT / 70)
        self.stands_until = np.where(pause, self.time + self.rng.uniform(2, 15, len(self.s)), self.stands_until)
        wanted = np.where(walking, self.pace * np.where(self.paths.crossing[self.link], 1.1, 1.0), 0.0)
        self.speed += (wanted - self.speed).clip(-0.25, 0.2)
        self.s = self.s + self.direction * self.speed * DT
        over = (self.s < 0) | (self.s > self.lines.lengths[self.link])
        for i in np.flatnonzero(over):
            self._turn(int(i))
        offset = self._target() - self.point + self._push()
        distance = np.linalg.norm(offset, axis=1)
        step = np.minimum(distance, np.maximum(self.speed, 0.0) * 1.2 * DT)
        moving = step > 0.02
        self.point = self.point + offset * (step / np.maximum(distance, 1e-6))[:, None]
        course = np.arctan2(offset[:, 1], offset[:, 0])
        change = (course - self.heading + np.pi) % (2 * np.pi) - np.pi
        self.heading = self.heading + np.where(moving, change.clip(-0.35, 0.35), 0.0)
        self.time += DT

    def _push(self) -> Array:
        """Nobody walks through anybody: a shift [n, 2] (m) away from those nearer than arm's length."""
        x, y = self.point.T.astype(np.float32)
        dx, dy = x[:, None] - x[None], y[:, None] - y[None]
        i, j = np.nonzero((dx * dx + dy * dy < ARM**2) & (dx * dx + dy * dy > 1e-6))
        away = np.stack([dx[i, j], dy[i, j]], axis=1)
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        push = np.zeros_like(self.point)
        np.add.at(push, i, 1.5 * (ARM - distance) * away / distance)
        return push

    def _turn(self, i: int) -> None:
        """At the end of a link: another one at random; a crossing has to be safe first."""
        link = int(self.link[i])
        node = int(self.paths.nodes[link, 1 if self.direction[i] > 0 else 0])
        options = [k for k in self.paths.incident[node] if k != link] or [link]
        if self.kind[i] == BY_NAME["vehicle.bicycle"]:
            options = [k for k in options if not self.paths.crossing[k]] or options
        new = options[int(self.rng.integers(len(options)))]
        self.link[i] = new
        self.direction[i] = 1 if self.paths.nodes[new, 0] == node else -1
        self.s[i] = 0.0 if self.direction[i] > 0 else self.lines.lengths[new]
        self.blocked[i] = bool(self.paths.crossing[new])

    def _faces(self, vehicles: Vehicles) -> NDArray[np.bool_]:
        """Who would walk against a vehicle within the next step or two, [n]."""
        out = np.zeros(len(self.s), bool)
        who = np.flatnonzero(self.crosses())
        ahead = self.point[who] + 0.7 * unit(self.heading[who])
        relative = ahead[:, None] - vehicles.point[None]
        along = (relative * unit(vehicles.heading)).sum(-1)
        across = np.abs((relative * unit(vehicles.heading + np.pi / 2)).sum(-1)) - vehicles.side
        out[who] = ((along < vehicles.front + 0.3) & (along > -vehicles.rear - 0.3) & (across < 0.3)).any(1)
        return out

    def _safe(self, link: int, vehicles: Vehicles) -> bool:
        """Whether nobody stands on the crossing and everybody who drives towards it can stop comfortably."""
        ends = self.lines.line(link)
        centre, half = (ends[0] + ends[-1]) / 2, self.lines.lengths[link] / 2
        along = (ends[-1] - ends[0]) / (2 * half)
        heading, speed = vehicles.heading, vehicles.speed
        relative = centre - vehicles.point
        ahead = (relative * unit(heading)).sum(-1) - vehicles.front
        aside = np.abs((relative * unit(heading + np.pi / 2)).sum(-1))
        crosses = np.abs((unit(heading) * along).sum(-1)) < 0.85
        approaching = (
            crosses & (aside < half) & (ahead > -vehicles.front - vehicles.rear - 1.5) & (ahead < speed**2 / 3.0 + 1.5)
        )
        return not bool(approaching.any())
