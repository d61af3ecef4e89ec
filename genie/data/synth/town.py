"""A random town: a jittered, thinned grid of straight and curved roads, with its lane and path graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genie.data.synth.lanes import Lanes, connect_lanes
from genie.data.synth.paths import Paths, connect_paths
from genie.data.synth.polylines import Array, bezier, resample, unit
from genie.data.synth.roads import Road

GRID_LINES = 4  # in each direction
MARGIN = 75.0  # m of land around the outermost junctions, so that the labels of an ego there stay inside the rasters


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
    """Draws a town of about 450 m: each line of the grid is a street of one style from end to end."""
    hand = 1 if rng.random() < 0.5 else -1
    nodes, edges = _grid(rng)
    styles = [_style(rng) for _ in range(2 * GRID_LINES)]
    roads = [_road(rng, nodes, edge, styles[edge.line], hand) for edge in edges]
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
    size = np.ceil((high - low) / 10) * 10
    lanes, paths = connect_lanes(nodes, roads, hand), connect_paths(nodes, roads)
    return Town((float(size[0]), float(size[1])), hand, nodes, roads, lanes, paths)


class _Edge(NamedTuple):
    a: int
    b: int
    line: int  # of the grid, 0..GRID_LINES-1 along y, then those along x


def _grid(rng: np.random.Generator) -> tuple[Array, list[_Edge]]:
    n = GRID_LINES
    xs, ys = (np.concatenate([[0], np.cumsum(rng.uniform(75, 185, n - 1))]) for _ in range(2))
    grid = np.stack(np.meshgrid(xs, ys, indexing="ij"), -1).reshape(-1, 2) + rng.uniform(-11, 11, (n * n, 2))
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    edges = [_Edge(i * n + j, i * n + j + 1, i) for i in range(n) for j in range(n - 1)]
    edges += [_Edge(i * n + j, (i + 1) * n + j, n + j) for i in range(n - 1) for j in range(n)]
    # T junctions and bends: drop roads while every junction keeps two, and the town stays in one piece.
    for _ in range(int(rng.integers(1, 7))):
        candidate = edges[int(rng.integers(len(edges)))]
        rest = [e for e in edges if e != candidate]
        if all(sum(n in (e.a, e.b) for e in rest) >= 2 for n in candidate[:2]) and _connected(rest, n * n):
            edges = rest
    return grid @ rotation.T, edges


def _connected(edges: list[_Edge], count: int) -> bool:
    reached, frontier = {0}, [0]
    while frontier:
        node = frontier.pop()
        for a, b, _ in edges:
            for here, there in ((a, b), (b, a)):
                if here == node and there not in reached:
                    reached.add(there)
                    frontier.append(there)
    return len(reached) == count


@dataclass(frozen=True)
class _Style:
    """What the blocks of one street have in common. parks: probability of a parking strip, per side and block."""

    lanes: tuple[int, int]
    limit: float
    lane_width: float
    median: float
    parks: float


def _style(rng: np.random.Generator) -> _Style:
    kind = str(rng.choice(["lane", "street", "avenue", "arterial"], p=[0.06, 0.22, 0.36, 0.36]))
    options, low, high, parks = {
        "lane": (((1, 1),), 6.0, 10.0, 0.5),
        "street": (((1, 1), (2, 1), (1, 2)), 10.0, 14.0, 0.6),
        "avenue": (((2, 2),), 12.0, 16.5, 0.4),
        "arterial": (((2, 2), (3, 3), (3, 2)), 14.0, 17.0, 0.12),
    }[kind]
    median = float(rng.uniform(1.2, 5.0)) if kind in ("avenue", "arterial") and rng.random() < 0.55 else 0.0
    lanes = options[int(rng.integers(len(options)))]
    return _Style(lanes, float(rng.uniform(low, high)), float(rng.uniform(3.1, 4.0)), median, parks)


def _road(rng: np.random.Generator, nodes: Array, edge: _Edge, style: _Style, hand: int) -> Road:
    a, b = nodes[edge.a], nodes[edge.b]
    length, angle = float(np.linalg.norm(b - a)), float(np.arctan2(*(b - a)[::-1]))
    bend_a, bend_b = rng.normal(0, 0.2, 2).clip(-0.38, 0.38) if rng.random() < 0.55 else (0.0, 0.0)
    third = length * 0.36
    return Road(
        edge.a,
        edge.b,
        centre=resample(bezier(a, a + third * unit(angle + bend_a), b - third * unit(angle + bend_b), b), 1.0),
        lanes={"fwd": style.lanes[0], "bwd": style.lanes[1]},
        lane_width=style.lane_width,
        median=style.median,
        strip={s: float(rng.uniform(2.3, 2.7)) if rng.random() < style.parks else 0.0 for s in ("fwd", "bwd")},
        sidewalk=float(rng.uniform(1.8, 4.6)),
        limit=style.limit,
        hand=hand,
    )


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
            turn = 5.5 if len(here) > 2 else 14.0  # a bend of the road is wider than a turn at a junction
            trim = min(need + turn, 0.38 * road.length)
            if node == road.a:
                road.trim_a = trim
            else:
                road.trim_b = trim
