"""The lane graph: directed lanes along the roads, connectors over the junctions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.polylines import Array, Polylines, bezier
from genie.data.synth.roads import Road


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


def connect_lanes(nodes: Array, roads: list[Road], hand: int) -> Lanes:
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
    limits = [roads[r].limit for r in road_of]
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
        limits.append(min(limits[lane_in], limits[lane_out]))
        neighbours.append((-1, -1))
    polylines = Polylines(lines)
    is_connector = np.arange(len(lines)) >= lane_count
    limit = np.array(limits)
    entry = np.array([polylines.headings[s + n - 1] for s, n in zip(polylines.starts, polylines.counts, strict=True)])
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
