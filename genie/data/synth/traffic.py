"""Vehicles on the lane graph: IDM car following, signals, reservations at junctions, MOBIL lane changes.

All vehicles step together at 10 Hz; only the few at a stop line or about to change lane are looked at one by one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.car_following import Drivers, follow, free_road
from genie.data.synth.categories import BY_NAME, CATEGORIES
from genie.data.synth.config import DT
from genie.data.synth.junctions import JunctionRules
from genie.data.synth.lane_change import ROUTE_GAIN, Approach, Queue, worth
from genie.data.synth.polylines import Array, unit
from genie.data.synth.town import Town
from genie.data.synth.walkers import Crossing

MIXTURE = {
    "vehicle.car": 0.809, "vehicle.truck": 0.062, "vehicle.bus.rigid": 0.041, "vehicle.bus.bendy": 0.012,
    "vehicle.motorcycle": 0.06, "vehicle.bicycle": 0.015, "vehicle.construction": 0.001,
}  # fmt: skip
ROUTE_EVERY, URGE = 40.0, 5.0  # s: how often a route wants another lane, and how long the driver looks for a gap
SWERVE = 1.5  # m/s2, the most that a driver accelerates to the side
SEEN_CHANGING = 0.4  # m to the side: then a lane change shows


class LaneChange(NamedTuple):
    """When (steps since the start of the traffic) and in which vehicle a lane change began to show."""

    step: int
    vehicle: int


class Traffic:
    """State arrays, one entry per vehicle. `step` moves everybody by DT; `pose` is where they are."""

    def __init__(self, town: Town, rng: np.random.Generator, per_km: float) -> None:
        self.town, self.rng, self.time = town, rng, 0.0
        self.lanes, self.lines = town.lanes, town.lanes.lines
        self.rules = JunctionRules.draw(town, rng)
        self._spawn(per_km)
        n = len(self.segment)
        self.granted = np.zeros(n, bool)
        self.waiting = np.zeros(n)
        self.hold_until = np.full(n, -1.0)
        self.hold_gap = np.full(n, np.inf)
        self.lateral, self.lateral_speed = rng.normal(0, 0.2, n), np.zeros(n)
        self.keep = self.lateral.copy()
        self.next_change = rng.uniform(0, 6, n)
        self.politeness = rng.uniform(0.0, 0.5, n)
        self.urge_until, self.urge_side = np.full(n, -1.0), np.zeros(n, np.int64)
        self.leaving = np.full(n, np.nan)  # lateral offset at which a lane change began that does not show yet
        self.lane_changes: list[LaneChange] = []
        self.passing: dict[int, list[tuple[int, int]]] = {j: [] for j in range(len(town.nodes))}

    def _spawn(self, per_km: float) -> None:
        rng, names = self.rng, list(MIXTURE)
        segment, s, kinds, sizes, tails = [], [], [], [], []
        for lane in np.flatnonzero(~self.lanes.is_connector):
            at = float(rng.exponential(500.0 / per_km)) + 6
            while at < self.lines.lengths[lane] - 8:
                kind = BY_NAME[str(rng.choice(names, p=list(MIXTURE.values())))]
                size = CATEGORIES[kind].draw_size(rng)
                tail = 0.0
                if CATEGORIES[kind].name == "vehicle.truck" and rng.random() < 0.25:
                    tail = float(CATEGORIES[BY_NAME["vehicle.trailer"]].draw_size(rng)[1])
                at += size[1] / 2 + tail
                segment.append(int(lane))
                s.append(at)
                kinds.append(kind)
                sizes.append(size)
                tails.append(tail)
                at += size[1] / 2 + 3 + float(rng.exponential(1000.0 / per_km))
        n = len(segment)
        self.segment, self.s = np.array(segment, dtype=np.int64), np.array(s)
        self.kind, self.size, self.tail = (
            np.array(kinds, dtype=np.int64),
            np.array(sizes).reshape(n, 3),
            np.array(tails),
        )
        self.front = self.size[:, 1] / 2  # m from the centre to the bumper, and to the end of the trailer
        self.rear = self.front + np.where(self.tail > 0, self.tail + 1.2, 0.0)
        cycle = self.kind == BY_NAME["vehicle.bicycle"]
        self.is_bus = np.isin(self.kind, [BY_NAME["vehicle.bus.rigid"], BY_NAME["vehicle.bus.bendy"]])
        heavy = np.isin(self.kind, [BY_NAME[k] for k in ("vehicle.bus.rigid", "vehicle.bus.bendy", "vehicle.truck")])
        self.eager = np.exp(rng.normal(0.05, 0.16, n)) * np.where(heavy, 0.88, 1.0)
        self.top = np.where(cycle, rng.uniform(3.5, 7.5, n), 17.0)
        self.top[self.kind == BY_NAME["vehicle.construction"]] = 7.5
        self.accelerate = rng.uniform(1.2, 2.8, n) * np.where(heavy, 0.6, 1.0)
        self.brake, self.headway = rng.uniform(1.4, 2.8, n), rng.uniform(0.8, 1.8, n)
        self.standstill = rng.uniform(1.4, 3.0, n)
        self.speed = 0.7 * np.minimum(self.lanes.limit[self.segment] * self.eager, self.top)
        self.next1 = np.array([self._choose(i) for i in self.segment], dtype=np.int64)
        self.next2 = np.array([self._choose(i) for i in self.next1], dtype=np.int64)

    def _choose(self, segment: int) -> int:
        options = self.lanes.successors[segment]
        return options[int(self.rng.integers(len(options)))]

    def pose(self) -> tuple[Array, Array]:
        """Centres [n, 2] (m) and headings [n] (rad)."""
        point, heading = self.lines.at(self.segment, self.s)
        slip = np.arctan2(self.lateral_speed, np.maximum(self.speed, 2.0))
        return point + self.lateral[:, None] * unit(heading + np.pi / 2), heading + slip

    def step(self, people: Crossing) -> None:
        """Advances by DT; vehicles brake for the people on the carriageway."""
        gap, lead_speed, heads = self._leaders()
        self._reserve(heads)
        to_end = self.lines.lengths[self.segment] - self.s
        stop = np.full(len(gap), np.inf)
        closed = heads & ~self.granted & ~self.lanes.is_connector[self.segment]
        stop[closed] = (to_end - self.front - 0.4)[closed]
        stop = np.minimum(stop, self._people_gap(people))
        stop = np.minimum(stop, self._hold(to_end))
        wanted = np.minimum(self.lanes.limit[self.segment] * self.eager, self.top)
        ahead = np.minimum(self.lanes.limit[self.next1] * self.eager, self.top)
        wanted = np.minimum(wanted, np.sqrt(ahead**2 + 2 * 1.4 * np.maximum(to_end, 0)))
        drivers = Drivers(self.accelerate, self.brake, self.headway, self.standstill)
        free = free_road(drivers, self.speed, wanted)
        at_line = drivers._replace(headway=np.full(len(gap), 0.3), standstill=np.full(len(gap), 0.6))
        acceleration = np.minimum(
            follow(drivers, self.speed, free, gap, lead_speed),
            follow(at_line, self.speed, free, stop, np.zeros_like(stop)),
        )
        before = self.speed
        self.speed = np.maximum(0.0, before + acceleration.clip(-7.5, None) * DT)
        # Never through the one in front, whatever the integration step does.
        self.speed = np.minimum(self.speed, np.maximum(gap - 0.25, 0.0) / DT)
        self.s = self.s + 0.5 * (before + self.speed) * DT
        self._drift()
        self._advance()
        self._change_lanes(wanted)
        self.time += DT

    def _leaders(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Gap (m, bumper to bumper; inf) and speed of the one in front, and who is first of their segment."""
        n, front, rear = len(self.s), self.front, self.rear
        order = np.lexsort((self.s, self.segment))
        same = self.segment[order][1:] == self.segment[order][:-1]
        gap, lead_speed, heads = np.full(n, np.inf), np.zeros(n), np.zeros(n, bool)
        i, j = order[:-1][same], order[1:][same]
        gap[i], lead_speed[i] = self.s[j] - self.s[i] - rear[j] - front[i], self.speed[j]
        heads[order[np.concatenate([~same, [True]])]] = True
        last = np.full(len(self.lines.lengths), -1)
        first = order[np.concatenate([[True], ~same])]
        last[self.segment[first]] = first
        distance = self.lines.lengths[self.segment] - self.s
        open_ = heads.copy()
        for following in (self.next1, self.next2):
            other = last[following]
            use = open_ & (other >= 0) & (other != np.arange(n))
            gap[use] = (distance - front)[use] + (self.s - rear)[other[use]]
            lead_speed[use] = self.speed[other[use]]
            open_ &= ~use
            distance = distance + self.lines.lengths[following]
        return gap, lead_speed, heads

    def _reserve(self, heads: NDArray[np.bool_]) -> None:
        """Lets the first of each lane into the junction where signal, crossing traffic and the exit allow it."""
        on_lane = ~self.lanes.is_connector[self.segment]
        distance = self.lines.lengths[self.segment] - self.s - self.front
        candidates = heads & on_lane & ~self.granted & (distance < self.speed**2 / 2.6 + 9)
        self.waiting = np.where(candidates & (self.speed < 0.6), self.waiting + DT, self.waiting * (self.speed < 0.6))
        for node, held in self.passing.items():
            self.passing[node] = [(v, c) for v, c in held if not self._has_left(v, c)]
        for v in sorted(np.flatnonzero(candidates), key=lambda i: (-self.waiting[i], distance[i], i)):
            if self._may_enter(int(v), float(distance[v])):
                self.granted[v] = True
                self.passing[int(self.lanes.junction[self.segment[v]])].append((int(v), int(self.next1[v])))

    def _progress(self, v: int, connector: int) -> float:
        """Arc length (m) of the rear of a vehicle on the connector; negative before it."""
        if self.segment[v] == connector:
            along = self.s[v]
        elif self.lanes.is_connector[self.segment[v]] or self.segment[v] != self.lanes.successors[connector][0]:
            along = -1e3 if self.next1[v] == connector else 1e3
        else:
            along = self.lines.lengths[connector] + self.s[v]
        return float(along - self.rear[v])

    def _has_left(self, v: int, connector: int) -> bool:
        return self._progress(v, connector) > self.lines.lengths[connector]

    def _may_enter(self, v: int, distance: float) -> bool:
        node, connector = int(self.lanes.junction[self.segment[v]]), int(self.next1[v])
        signal = self.rules.signals.get(node)
        if signal is not None and not signal.allows(self.lanes.entry_heading[self.segment[v]], self.time):
            return False
        if node in self.rules.stop_signs and self.waiting[v] < 0.6:
            return False
        for other, held in self.passing[node]:
            end = self.rules.conflict_end[held].get(connector)
            if other != v and end is not None and self._progress(other, held) < end:
                return False
        # Do not block the box: the exit must have room for the whole vehicle.
        exit_lane = self.lanes.successors[connector][0]
        there = np.flatnonzero(self.segment == exit_lane)
        inside = sum(self.size[o, 1] + self.tail[o] + 2 for o, c in self.passing[node] if c == connector and o != v)
        room = (self.s[there] - self.rear[there] + self.speed[there] * 2.5).min() if len(there) else np.inf
        already_over_the_line = distance < -1.0
        return bool(room > self.front[v] + self.rear[v] + 2.0 + inside or already_over_the_line)

    def _people_gap(self, people: Crossing) -> Array:
        """Distance (m) from each bumper to the nearest person who is, or will be, in its way; inf without one."""
        if not len(people.point):
            return np.full(len(self.s), np.inf)
        point, heading = self.pose()
        along_axis, across_axis = unit(heading)[:, None], unit(heading + np.pi / 2)[:, None]
        relative = people.point[None] - point[:, None]
        along = (relative * along_axis).sum(-1) - self.front[:, None]
        across = (relative * across_axis).sum(-1)
        arrival = np.clip(along / np.maximum(self.speed, 1.0)[:, None], 0.0, 3.0)
        later = across + (people.velocity[None] * across_axis).sum(-1) * arrival
        half = self.size[:, :1] / 2 + 0.9
        reach = 4 + self.speed**2 / 2.5
        in_way = (np.minimum(across, later) < half) & (np.maximum(across, later) > -half)
        hit = in_way & (along > -0.3) & (along < reach[:, None])
        return np.where(hit, np.maximum(along - 0.9, 0.0), np.inf).min(1)

    def _hold(self, to_end: Array) -> Array:
        """Some stop on the road for no reason that the others can see: passengers, deliveries, phones. Buses often."""
        start = (
            (self.rng.random(len(self.s)) < DT / np.where(self.is_bus, 60.0, 350.0))
            & ~self.lanes.is_connector[self.segment] & (to_end > 35) & (self.hold_until < self.time)
        )  # fmt: skip
        self.hold_gap = np.where(start, self.speed**2 / 2.6 + 2, self.hold_gap - self.speed * DT)
        self.hold_until = np.where(start, self.time + self.rng.uniform(5, 14, len(self.s)), self.hold_until)
        return np.where(self.hold_until > self.time, np.maximum(self.hold_gap, 0.3), np.inf)

    def _drift(self) -> None:
        """Lateral motion: back to the own line, critically damped, only while rolling."""
        rolling = np.minimum(1.0, self.speed / 4)
        self.keep += -0.05 * self.keep * DT + 0.12 * np.sqrt(DT) * self.rng.standard_normal(len(self.s))
        self.keep = self.keep.clip(-0.5, 0.5)
        pull = (1.44 * (self.keep - self.lateral) - 2.4 * self.lateral_speed).clip(-SWERVE, SWERVE)
        self.lateral_speed = (self.lateral_speed + pull * DT) * rolling
        self.lateral = self.lateral + self.lateral_speed * DT
        for v in np.flatnonzero(np.abs(self.lateral - self.leaving) > SEEN_CHANGING):
            self.lane_changes.append(LaneChange(round(self.time / DT) + 1, int(v)))
            self.leaving[v] = np.nan

    def _advance(self) -> None:
        for v in np.flatnonzero(self.s >= self.lines.lengths[self.segment]):
            self.s[v] -= self.lines.lengths[self.segment[v]]
            self.segment[v], self.next1[v] = self.next1[v], self.next2[v]
            self.next2[v] = self._choose(int(self.next1[v]))
            if not self.lanes.is_connector[self.segment[v]]:
                self.granted[v] = False

    def _change_lanes(self, wanted: Array) -> None:
        """MOBIL for all who could change now; the most rewarding change first, one into each gap."""
        lines, lanes = self.lines, self.lanes
        length = lines.lengths[self.segment]
        # Now and then a route wants another lane, whatever the traffic in it is like.
        urged = self.rng.random(len(self.s)) < DT / ROUTE_EVERY
        self.urge_until = np.where(urged, self.time + URGE, self.urge_until)
        self.urge_side = np.where(urged, self.rng.integers(0, 2, len(self.s)), self.urge_side)
        ready = (self.next_change < self.time) & (self.s > 8) & (length - self.s > 32) & (self.speed > 2.5)
        ready &= (self.tail == 0) & ~self.granted & ~lanes.is_connector[self.segment]
        who, side = np.nonzero(ready[:, None] & (lanes.neighbours[self.segment] >= 0))
        if not len(who):
            return
        target = lanes.neighbours[self.segment[who], side]
        at, lateral = self._beside(who, target)
        drivers = Drivers(self.accelerate, self.brake, self.headway, self.standstill)
        queue = Queue(self.segment, self.s, self.speed, self.front, self.rear, wanted, drivers)
        urge = (self.urge_until[who] > self.time) & (self.urge_side[who] == side)
        gain = worth(queue, self._approach(), who, target, at, self.politeness[who], ROUTE_GAIN * urge)
        taken: list[tuple[int, float]] = []
        changed: set[int] = set()
        for k in np.argsort(-gain, kind="stable"):
            if gain[k] <= 0:
                break
            v, lane = int(who[k]), int(target[k])
            if v in changed or any(lane == other and abs(at[k] - place) < 25 for other, place in taken):
                continue
            changed.add(v)
            taken.append((lane, float(at[k])))
            self.lateral[v] += lateral[k]
            self.leaving[v] = self.lateral[v]
            self.segment[v], self.s[v] = lane, at[k]
            self.next1[v] = self._choose(lane)
            self.next2[v] = self._choose(int(self.next1[v]))
            self.next_change[v], self.urge_until[v] = self.time + 6, -1.0

    def _beside(self, who: NDArray[np.int64], target: NDArray[np.int64]) -> tuple[Array, Array]:
        """The place in another lane beside each vehicle: arc length there, and the vehicle's offset from it (m)."""
        lines = self.lines
        old, _ = lines.at(self.segment[who], self.s[who])
        at = self.s[who] * lines.lengths[target] / lines.lengths[self.segment[who]]
        for _ in range(2):  # beside, not before or behind: no jump along the road
            new, heading = lines.at(target, at)
            at = at + ((old - new) * unit(heading)).sum(-1)
        new, heading = lines.at(target, at)
        return at, ((old - new) * unit(heading + np.pi / 2)).sum(-1)

    def _approach(self) -> Approach:
        """Who comes next over a junction into each lane."""
        coming = np.flatnonzero(self.lanes.is_connector[self.segment])
        distance = self.lines.lengths[self.segment[coming]] - self.s[coming]
        vehicle, nearest = np.full(len(self.lines.lengths), -1), np.full(len(self.lines.lengths), np.inf)
        for k in np.argsort(-distance, kind="stable"):  # the nearest is written last
            lane = self.next1[coming[k]]
            vehicle[lane], nearest[lane] = coming[k], distance[k]
        return Approach(vehicle, nearest)
