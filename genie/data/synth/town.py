"""A random town: a jittered, thinned grid of straight and curved roads, with its lane and path graphs. Geometry only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genie.data.synth.lanes import Lanes, connect_lanes
from genie.data.synth.paths import Paths, connect_paths
from genie.data.synth.polylines import Array, bezier, resample, unit
from genie.data.synth.roads import Road

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


