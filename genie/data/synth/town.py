"""A random town: roads with a cross-section, junctions, lanes for vehicles and footpaths for people. Geometry only.

Frame: metres, x and y positive, a road's lateral axis points left of its direction a -> b.
`hand` is +1 where traffic keeps right and -1 where it keeps left (nuScenes has both: Boston and Singapore).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MARGIN = 75.0  # m of land around the outermost junctions, so that the labels of an ego there stay inside the rasters
CROSSWALK_SETBACK = 2.5  # m from the stop line into the junction


def resample(points: Array, spacing: float) -> Array:
    """A polyline [n, 2] at equal steps of about `spacing` (m), ends kept."""
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(2, round(s[-1] / spacing) + 1)
    at = np.linspace(0.0, s[-1], count)
    return np.stack([np.interp(at, s, points[:, 0]), np.interp(at, s, points[:, 1])], axis=1)


def bezier(p0: Array, p1: Array, p2: Array, p3: Array, count: int = 48) -> Array:
    t = np.linspace(0.0, 1.0, count)[:, None]
    return (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3


def unit(angle: float | Array) -> Array:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


class Polylines:
    """Many polylines, evaluated together at arc lengths: the vectorised heart of the traffic simulation."""

    def __init__(self, lines: list[Array], spacing: float = 0.5) -> None:
        sampled = [resample(line, spacing) for line in lines]
        self.counts = np.array([len(p) for p in sampled])
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        self.lengths = np.array([np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in sampled])
        self.points = np.concatenate(sampled)
        headings = []
        for p in sampled:
            tangent = np.gradient(p, axis=0)
            headings.append(np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0])))
        self.headings = np.concatenate(headings)
        # Radius (m) of the tightest bend of each line: it bounds the speed.
        self.radii = np.array(
            [1.0 / max(1e-3, np.abs(np.gradient(h)).max() / (n / (len(h) - 1))) for h, n in zip(headings, self.lengths)]
        )

    def at(self, line: NDArray[np.int64], s: Array) -> tuple[Array, Array]:
        """Points [..., 2] and headings [...] of lines at arc lengths `s` (m); beyond the ends: straight on."""
        u = np.clip(s / self.lengths[line], 0.0, 1.0) * (self.counts[line] - 1)
        low = np.minimum(u.astype(np.int64), self.counts[line] - 2)
        f = u - low
        i = self.starts[line] + low
        heading = self.headings[i] * (1 - f) + self.headings[i + 1] * f
        point = self.points[i] * (1 - f)[..., None] + self.points[i + 1] * f[..., None]
        beyond = s - np.clip(s, 0.0, self.lengths[line])
        return point + beyond[..., None] * unit(heading), heading

    def line(self, index: int) -> Array:
        return self.points[self.starts[index] : self.starts[index] + self.counts[index]]


@dataclass
class Road:
    """A road from junction `a` to junction `b`. "fwd" is the side of the traffic a -> b, "bwd" the other one."""

    a: int
    b: int
    centre: Array  # [n, 2], 1 m apart
    lanes: dict[str, int]
    lane_width: float
    median: float
    strip: dict[str, float]  # m of parking strip, 0 where there is none
    sidewalk: float
    limit: float  # m/s
    hand: int
    trim_a: float = 0.0  # m of the centre line that belong to the junction
    trim_b: float = 0.0
    crossing: float | None = None  # arc length of a crossing between the junctions
    length: float = field(init=False)

    def __post_init__(self) -> None:
        self.length = float(np.linalg.norm(np.diff(self.centre, axis=0), axis=1).sum())
        tangent = np.gradient(self.centre, axis=0)
        self._heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        self._s = np.linspace(0.0, self.length, len(self.centre))

    def sign(self, side: str) -> int:
        """Which way that side lies of the centre line: +1 left, -1 right."""
        return -self.hand if side == "fwd" else self.hand

    def lane_lateral(self, side: str, k: int) -> float:
        """Lateral position of the centre of lane `k`, counted from the median."""
        return self.sign(side) * (self.median / 2 + (k + 0.5) * self.lane_width)

    def kerb(self, side: str) -> float:
        """m from the centre line to the kerb on that side."""
        return self.median / 2 + self.lanes[side] * self.lane_width + self.strip[side]

    def widest(self) -> float:
        return max(self.kerb("fwd"), self.kerb("bwd"))

    def frame(self, s: Array | float, lateral: Array | float) -> tuple[Array, Array]:
        """Points [..., 2] and headings [...] at arc length and lateral offset (m)."""
        s = np.asarray(s, dtype=np.float64)
        heading = np.interp(s, self._s, self._heading)
        centre = np.stack([np.interp(s, self._s, self.centre[:, 0]), np.interp(s, self._s, self.centre[:, 1])], -1)
        return centre + np.asarray(lateral)[..., None] * unit(heading + np.pi / 2), heading

    def offset(self, lateral: float, s0: float, s1: float) -> Array:
        """The line at `lateral` (m) between two arc lengths, [n, 2]."""
        return self.frame(np.linspace(s0, s1, max(2, int(abs(s1 - s0)) + 1)), lateral)[0]

    def band(self, inner: float, outer: float, s0: float, s1: float) -> Array:
        """The polygon between two lateral offsets, [n, 2]."""
        return np.concatenate([self.offset(inner, s0, s1), self.offset(outer, s0, s1)[::-1]])

    def end(self, node: int) -> tuple[float, float]:
        """Arc length of the stop line at that junction, and the heading of the road leaving the junction."""
        if node == self.a:
            return self.trim_a, float(self._heading[0])
        return self.length - self.trim_b, float(self._heading[-1] + np.pi)


@dataclass
class Lanes:
    """Directed lanes and the connectors between them, as one list of segments.

    successors[i]: segments that may follow i. junction[i]: of a connector the junction it lies in, of a lane the one
    that it ends at. neighbours[i]: (towards the median, towards the kerb), -1 where there is none.
    """

    lines: Polylines
    is_connector: NDArray[np.bool_]
    limit: Array  # m/s, with the bends
    junction: NDArray[np.int64]
    road: NDArray[np.int64]
    successors: list[list[int]]
    neighbours: NDArray[np.int64]
    entry_heading: Array  # heading of the arriving lane at its end, for signals


@dataclass
class Paths:
    """Where people walk: links between path nodes; `crossing` links lie on the road."""

    lines: Polylines
    nodes: NDArray[np.int64]  # [links, 2]
    crossing: NDArray[np.bool_]
    width: Array
    incident: list[list[int]]


@dataclass
class Town:
    size: tuple[float, float]  # m, extent in x and y
    hand: int
    nodes: Array  # [n, 2]
    roads: list[Road]
    lanes: Lanes
    paths: Paths

    def approaches(self, node: int) -> list[int]:
        """Roads at a junction, counter-clockwise."""
        here = [i for i, r in enumerate(self.roads) if node in (r.a, r.b)]
        return sorted(here, key=lambda i: self.roads[i].end(node)[1] % (2 * np.pi))


def build_town(rng: np.random.Generator) -> Town:
    """Draws a town of about 400 m: a jittered, thinned, rotated grid of straight and curved roads."""
    hand = 1 if rng.random() < 0.5 else -1
    nodes, edges = _grid(rng)
    roads = [_road(rng, nodes, a, b, hand) for a, b in edges]
    _trim(nodes, roads)
    for road in roads:
        free = road.length - road.trim_a - road.trim_b
        if free > 45 and rng.random() < 0.4:
            road.crossing = road.trim_a + free * rng.uniform(0.35, 0.65)
    low = np.min([r.centre.min(0) for r in roads], axis=0) - MARGIN
    high = np.max([r.centre.max(0) for r in roads], axis=0) + MARGIN
    for road in roads:
        road.centre -= low
    nodes = nodes - low
    size = tuple(float(v) for v in np.ceil((high - low) / 10) * 10)
    return Town((size[0], size[1]), hand, nodes, roads, _lanes(nodes, roads, hand), _paths(nodes, roads))


def _grid(rng: np.random.Generator) -> tuple[Array, list[tuple[int, int]]]:
    nx, ny = 4, 4
    gaps_x, gaps_y = rng.uniform(75, 150, nx - 1), rng.uniform(75, 150, ny - 1)
    xs, ys = np.concatenate([[0], np.cumsum(gaps_x)]), np.concatenate([[0], np.cumsum(gaps_y)])
    grid = np.stack(np.meshgrid(xs, ys, indexing="ij"), -1).reshape(-1, 2) + rng.uniform(-11, 11, (nx * ny, 2))
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    edges = [(i * ny + j, i * ny + j + 1) for i in range(nx) for j in range(ny - 1)]
    edges += [(i * ny + j, (i + 1) * ny + j) for i in range(nx - 1) for j in range(ny)]
    # T junctions and bends: drop roads while every junction keeps two, and the town stays in one piece.
    for _ in range(int(rng.integers(4, 9))):
        candidate = edges[int(rng.integers(len(edges)))]
        rest = [e for e in edges if e != candidate]
        if all(sum(n in e for e in rest) >= 2 for n in candidate) and _connected(rest, nx * ny):
            edges = rest
    return grid @ rotation.T, edges


def _connected(edges: list[tuple[int, int]], count: int) -> bool:
    reached, frontier = {0}, [0]
    while frontier:
        node = frontier.pop()
        for a, b in edges:
            for here, there in ((a, b), (b, a)):
                if here == node and there not in reached:
                    reached.add(there)
                    frontier.append(there)
    return len(reached) == count


def _road(rng: np.random.Generator, nodes: Array, a: int, b: int, hand: int) -> Road:
    chord = nodes[b] - nodes[a]
    length, angle = float(np.linalg.norm(chord)), float(np.arctan2(chord[1], chord[0]))
    bend_a, bend_b = rng.normal(0, 0.2, 2).clip(-0.38, 0.38) if rng.random() < 0.55 else (0.0, 0.0)
    third = length * 0.36
    centre = bezier(
        nodes[a], nodes[a] + third * unit(angle + bend_a), nodes[b] - third * unit(angle + bend_b), nodes[b]
    )
    kind = rng.choice(["lane", "street", "avenue", "arterial"], p=[0.22, 0.33, 0.28, 0.17])
    lanes, limit = {
        "lane": ((1, 1), rng.uniform(5.5, 9)),
        "street": (((1, 1), (2, 1), (1, 2))[int(rng.integers(3))], rng.uniform(8, 12)),
        "avenue": ((2, 2), rng.uniform(9, 14.5)),
        "arterial": (((2, 2), (3, 3), (3, 2))[int(rng.integers(3))], rng.uniform(12, 17)),
    }[str(kind)]
    strips = {"lane": 0.6, "street": 0.7, "avenue": 0.5, "arterial": 0.15}[str(kind)]
    strip = {side: float(rng.uniform(2.3, 2.7)) if rng.random() < strips else 0.0 for side in ("fwd", "bwd")}
    median = float(rng.uniform(1.2, 4.5)) if kind in ("avenue", "arterial") and rng.random() < 0.5 else 0.0
    return Road(
        a, b, resample(centre, 1.0), {"fwd": lanes[0], "bwd": lanes[1]}, float(rng.uniform(3.0, 4.0)), median, strip,
        float(rng.uniform(1.8, 4.2)), float(limit), hand,
    )  # fmt: skip


def _trim(nodes: Array, roads: list[Road]) -> None:
    """Gives each road end to its junction as far as the carriageways there overlap, plus room for a turn."""
    for node in range(len(nodes)):
        here = [r for r in roads if node in (r.a, r.b)]
        for road in here:
            need = 4.0
            for other in here:
                if other is road:
                    continue
                theta = abs((other.end(node)[1] - road.end(node)[1] + np.pi) % (2 * np.pi) - np.pi)
                if theta < 2.6:
                    sin = np.sin(max(theta, 0.6))
                    need = max(need, (other.widest() + max(0.0, road.widest() * np.cos(theta))) / sin)
            trim = min(need + 5.5, 0.38 * road.length)
            if node == road.a:
                road.trim_a = trim
            else:
                road.trim_b = trim


def _lanes(nodes: Array, roads: list[Road], hand: int) -> Lanes:
    lines: list[Array] = []
    index: dict[tuple[int, str, int], int] = {}
    junction: list[int] = []
    road_of: list[int] = []
    for i, road in enumerate(roads):
        for side in ("fwd", "bwd"):
            for k in range(road.lanes[side]):
                line = road.offset(road.lane_lateral(side, k), road.trim_a, road.length - road.trim_b)
                index[i, side, k] = len(lines)
                lines.append(line if side == "fwd" else line[::-1])
                junction.append(road.b if side == "fwd" else road.a)
                road_of.append(i)
    neighbours = [(index.get((i, side, k - 1), -1), index.get((i, side, k + 1), -1)) for (i, side, k) in index]
    lane_count = len(lines)
    successors: list[list[int]] = [[] for _ in range(lane_count)]
    for lane_in, lane_out in _turns(nodes, roads, index, hand):
        p0, p3 = lines[lane_in][-1], lines[lane_out][0]
        d0, d3 = _direction(lines[lane_in][-2:]), _direction(lines[lane_out][:2])
        handle = 0.4 * float(np.linalg.norm(p3 - p0))
        successors[lane_in].append(len(lines))
        successors.append([lane_out])
        lines.append(bezier(p0, p0 + handle * d0, p3 - handle * d3, p3))
        junction.append(junction[lane_in])
        road_of.append(-1)
        neighbours.append((-1, -1))
    polylines = Polylines(lines)
    is_connector = np.arange(len(lines)) >= lane_count
    limit = np.array([roads[r].limit if r >= 0 else 12.0 for r in road_of])
    entry = np.array([polylines.headings[s + n - 1] for s, n in zip(polylines.starts, polylines.counts)])
    return Lanes(
        polylines, is_connector, np.minimum(limit, np.sqrt(2.3 * polylines.radii)), np.array(junction),
        np.array(road_of), successors, np.array(neighbours), entry,
    )  # fmt: skip


def _direction(two: Array) -> Array:
    return (two[1] - two[0]) / np.linalg.norm(two[1] - two[0])


def _turns(nodes: Array, roads: list[Road], index: dict[tuple[int, str, int], int], hand: int) -> list[tuple[int, int]]:
    """Pairs (lane in, lane out): kerb turns from the kerb lane, far turns from the lane at the median."""
    pairs: list[tuple[int, int]] = []
    for node in range(len(nodes)):
        here = [i for i, r in enumerate(roads) if node in (r.a, r.b)]
        for i in here:
            side_in = "fwd" if roads[i].b == node else "bwd"
            count = roads[i].lanes[side_in]
            options: dict[int, list[tuple[float, int]]] = {k: [] for k in range(count)}
            for j in here:
                if i == j:
                    continue
                side_out = "fwd" if roads[j].a == node else "bwd"
                last = roads[j].lanes[side_out] - 1
                turn = (roads[j].end(node)[1] - roads[i].end(node)[1] - np.pi + np.pi) % (2 * np.pi) - np.pi
                straight = abs(turn) < 0.65 or len(here) == 2
                for k in range(count):
                    kerb_turn = turn * hand < 0
                    allowed = straight or (k == count - 1 if kerb_turn else k == 0)
                    target = min(k, last) if straight else (last if kerb_turn else 0)
                    if allowed:
                        pairs.append((index[i, side_in, k], index[j, side_out, target]))
                    options[k].append((abs(turn) + (0 if allowed else 10), index[j, side_out, min(k, last)]))
            for k, choice in options.items():
                best = min(choice)
                if best[0] >= 10:  # no turn is meant for this lane: it takes the gentlest one
                    pairs.append((index[i, side_in, k], best[1]))
    return pairs


def _paths(nodes: Array, roads: list[Road]) -> Paths:
    lines: list[Array] = []
    ends: list[tuple[int, int]] = []
    crossing: list[bool] = []
    width: list[float] = []
    points: list[Array] = []

    def add(line: Array, u: int, v: int, on_road: bool, wide: float) -> None:
        lines.append(line)
        ends.append((u, v))
        crossing.append(on_road)
        width.append(wide)

    corner: dict[tuple[int, int, int], int] = {}  # road, junction, sign of the side -> path node
    for i, road in enumerate(roads):
        stops = [road.trim_a - CROSSWALK_SETBACK, road.length - road.trim_b + CROSSWALK_SETBACK]
        if road.crossing is not None:
            stops.insert(1, road.crossing)
        grid: dict[tuple[int, int], int] = {}
        for side in ("fwd", "bwd"):
            sign = road.sign(side)
            lateral = sign * (road.kerb(side) + road.sidewalk / 2)
            for n, s in enumerate(stops):
                grid[n, sign] = len(points)
                points.append(road.frame(s, lateral)[0])
            for n in range(len(stops) - 1):
                add(
                    road.offset(lateral, stops[n], stops[n + 1]), grid[n, sign], grid[n + 1, sign], False, road.sidewalk
                )
            corner[i, road.a, sign], corner[i, road.b, sign] = grid[0, sign], grid[len(stops) - 1, sign]
        for n in range(len(stops)):
            u, v = grid[n, 1], grid[n, -1]
            add(np.stack([points[u], points[v]]), u, v, True, 2.2)
    for node in range(len(nodes)):
        here = [i for i, r in enumerate(roads) if node in (r.a, r.b)]
        here.sort(key=lambda i: roads[i].end(node)[1] % (2 * np.pi))
        for n, i in enumerate(here):
            j = here[(n + 1) % len(here)]
            # Counter-clockwise neighbours share the corner left of the first and right of the second, seen outwards.
            u = corner[i, node, 1 if roads[i].a == node else -1]
            v = corner[j, node, -1 if roads[j].a == node else 1]
            if u != v and np.linalg.norm(points[u] - points[v]) > 0.5:
                add(np.stack([points[u], points[v]]), u, v, False, 1.8)
    incident: list[list[int]] = [[] for _ in points]
    for link, (u, v) in enumerate(ends):
        incident[u].append(link)
        incident[v].append(link)
    return Paths(Polylines(lines), np.array(ends), np.array(crossing), np.array(width), incident)
