"""The path graph: sidewalks, corners, and crossings over the roads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.polylines import Array, Polylines
from genie.data.synth.roads import Road

CROSSWALK_SETBACK = 2.5  # m from the stop line into the junction


@dataclass
class Paths:
    """Where people walk: links between path nodes; `crossing` links lie on the road."""

    lines: Polylines
    nodes: NDArray[np.int64]  # [links, 2]
    crossing: NDArray[np.bool_]
    width: Array
    incident: list[list[int]]


def connect_paths(nodes: Array, roads: list[Road]) -> Paths:
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
