"""Paint on the road as strokes: what a camera sees and a lidar's intensity shows. Labels know nothing of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from genie.data.synth.paths import CROSSWALK_SETBACK
from genie.data.synth.polylines import Array
from genie.data.synth.roads import Road
from genie.data.synth.town import Town

Kind = Literal["centre", "lane", "edge", "stop", "crossing", "bay"]
LINE = 0.13  # m wide
DASH, GAP = 3.0, 6.0  # m
CROSSING_BAR, CROSSING_PITCH, CROSSING_DEPTH = 0.5, 1.1, 2.6  # m: width and spacing of the bars, and their length


class Marking(NamedTuple):
    """One stroke of paint.

    kind: "centre" parts opposite directions (yellow in many countries), "lane" one dash between lanes of the same
        direction, "edge" runs along kerb, median or parking strip, "stop" is a stop line, "crossing" one bar of a
        crosswalk, "bay" a line between parking bays. All but "centre" are white.
    line: [n, 2], world (m). width: m.
    """

    kind: Kind
    line: Array
    width: float

    @property
    def polygon(self) -> Array:
        """The outline, [2 n, 2] (m)."""
        along = np.gradient(self.line, axis=0)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        aside = np.stack([-along[:, 1], along[:, 0]], axis=1) * self.width / 2
        return np.concatenate([self.line + aside, (self.line - aside)[::-1]])


def town_markings(town: Town) -> list[Marking]:
    """All strokes on roads and at junctions."""
    out: list[Marking] = []
    for road in town.roads:
        for start, end in _open_stretches(road):
            out += _along(road, start, end)
        out += _crossings(road)
        for node in (road.a, road.b):
            if len(town.approaches(node)) > 2:
                out.append(_stop_line(road, node))
    return out


def bay_lines(road: Road, lateral: Array, at: Array) -> list[Marking]:
    """Lines across `at` (arc lengths, m), each from the first to the last of `lateral` (m)."""
    return [Marking("bay", road.frame(np.full(len(lateral), s), lateral)[0], LINE) for s in at.tolist()]


def _open_stretches(road: Road) -> list[tuple[float, float]]:
    """Arc lengths with lines along the road: not over its crossing."""
    start, end = road.trim_a, road.length - road.trim_b
    if road.crossing is None:
        return [(start, end)]
    return [(start, road.crossing - 2.0), (road.crossing + 2.0, end)]


def _along(road: Road, start: float, end: float) -> list[Marking]:
    out: list[Marking] = []
    if road.median > 0:
        out += [Marking("edge", road.offset(sign * (road.median / 2 + 0.2), start, end), LINE) for sign in (1, -1)]
    elif road.lanes["fwd"] + road.lanes["bwd"] > 2:
        out += [Marking("centre", road.offset(sign * 0.12, start, end), 0.1) for sign in (1, -1)]
    else:
        out.append(Marking("centre", road.offset(0.0, start, end), LINE))
    for side in ("fwd", "bwd"):
        sign, width = road.sign(side), road.lane_width
        edge = road.median / 2 + road.lanes[side] * width
        out.append(Marking("edge", road.offset(sign * (edge - 0.15), start, end), LINE))
        for k in range(1, road.lanes[side]):
            lateral = sign * (road.median / 2 + k * width)
            out += [
                Marking("lane", road.offset(lateral, s, min(s + DASH, end)), LINE)
                for s in np.arange(start + GAP / 2, end - 0.5, DASH + GAP)
            ]
    return out


def _crossings(road: Road) -> list[Marking]:
    """Bars along the traffic, from kerb to kerb, where the paths cross."""
    stops = [road.trim_a - CROSSWALK_SETBACK, road.length - road.trim_b + CROSSWALK_SETBACK]
    if road.crossing is not None:
        stops.append(road.crossing)
    low, high = sorted(road.sign(side) * road.kerb(side) for side in ("fwd", "bwd"))
    laterals = np.arange(low + 0.6, high - 0.4, CROSSING_PITCH).tolist()
    half = CROSSING_DEPTH / 2
    return [
        Marking("crossing", road.frame(np.array([s - half, s + half]), lateral)[0], CROSSING_BAR)
        for s in stops
        for lateral in laterals
    ]


def _stop_line(road: Road, node: int) -> Marking:
    """Across the lanes that arrive, just before the crosswalk."""
    side = "fwd" if node == road.b else "bwd"
    s, _ = road.end(node)
    edge = road.median / 2 + road.lanes[side] * road.lane_width
    laterals = np.array([road.median / 2 + 0.15, edge - 0.15]) * float(road.sign(side))
    return Marking("stop", road.frame(np.full(2, s), laterals)[0], 0.4)
