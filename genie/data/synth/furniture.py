"""What stands: parked vehicles on strips and lots, building sites with barriers and cones, parked cycles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genie.data.synth.categories import BY_NAME, CATEGORIES
from genie.data.synth.polylines import Array
from genie.data.synth.roads import Road
from genie.data.synth.scenery import Lot
from genie.data.synth.town import Town

PARKED = {
    "vehicle.car": 0.738, "vehicle.truck": 0.17, "vehicle.bus.rigid": 0.05, "vehicle.trailer": 0.005,
    "vehicle.construction": 0.03, "vehicle.motorcycle": 0.007,
}  # fmt: skip
BARRIER, CONE = BY_NAME["movable_object.barrier"], BY_NAME["movable_object.trafficcone"]
WORKER = BY_NAME["human.pedestrian.construction_worker"]
MACHINES = {"vehicle.construction": 0.6, "vehicle.truck": 0.35, "vehicle.trailer": 0.05}


@dataclass(frozen=True)
class Standing:
    """kind: index into CATEGORIES. size: [w, l, h] (m). point: [2] (m). heading: rad."""

    kind: int
    size: Array
    point: Array
    heading: float


class Stretch(NamedTuple):
    """Arc lengths of a road."""

    start: float
    end: float


def furnish(town: Town, lots: list[Lot], rng: np.random.Generator) -> list[Standing]:
    """Everything that stands in the town. Items of one strip never overlap: they are packed along it."""
    out: list[Standing] = []
    parked_share = rng.beta(1.0, 1.7)
    site_share = rng.choice([0.1, 0.5, 1.0], p=[0.25, 0.35, 0.4])
    for road in town.roads:
        if road.median > 1.1 and rng.random() < site_share:
            out += _median_row(road, rng)
        for side in ("fwd", "bwd"):
            # Without a parking strip a site lies behind the kerb, where a lot or parked cycles may be.
            has_strip = road.strip[side] > 0
            beside_lot = any(lot.road is road and lot.side == side for lot in lots)
            taken = [] if road.crossing is None else [Stretch(road.crossing - 2.5, road.crossing + 2.5)]
            site = None
            if rng.random() < site_share and (has_strip or not beside_lot):
                site = _site_stretch(road, rng)
            if site is not None:
                out += _site_fence(road, side, site, rng)
                out += _site_inside(road, side, site, rng) if has_strip else []
                taken.append(Stretch(site.start - 1, site.end + 1))
            if has_strip:
                fill = float(np.clip(parked_share + rng.normal(0, 0.2), 0.02, 0.98))
                out += _park_along(road, side, fill, taken, rng)
            if not beside_lot and (site is None or has_strip):
                out += _cycles(road, side, rng)
    for lot in lots:
        out += _park_lot(lot, rng)
    return out


def _park_along(road: Road, side: str, fill: float, taken: list[Stretch], rng: np.random.Generator) -> list[Standing]:
    """Parallel parking between the junctions, except where the strip is taken."""
    out: list[Standing] = []
    s, end = road.trim_a + 5, road.length - road.trim_b - 5
    lateral = road.kerb(side) - road.strip[side] / 2
    while s < end - 4:
        kind = BY_NAME[str(rng.choice(list(PARKED), p=list(PARKED.values())))]
        size = CATEGORIES[kind].draw_size(rng)
        size[0] = min(size[0], road.strip[side])
        blocking = [t for t in taken if s < t.end and s + size[1] > t.start]
        if blocking:
            s = max(t.end for t in blocking) + 0.5
            continue
        if s + size[1] < end and rng.random() < fill:
            point, heading = road.frame(s + size[1] / 2, road.sign(side) * (lateral + rng.normal(0, 0.1)))
            forward = (side == "fwd") != (rng.random() < 0.04)
            yaw = float(heading) + (0.0 if forward else np.pi) + float(rng.normal(0, 0.025))
            out.append(Standing(kind, size, point, yaw))
        s += size[1] + rng.uniform(0.6, 1.6)
    return out


def _park_lot(lot: Lot, rng: np.random.Generator) -> list[Standing]:
    """Rows of perpendicular bays with aisles between them; the driveway stays free."""
    out: list[Standing] = []
    fill = rng.uniform(0.05, 0.8)
    car = BY_NAME["vehicle.car"]
    for n, row in enumerate(lot.rows):
        for s in lot.bays:
            if rng.random() < fill and not lot.in_driveway(n, s):
                point, heading = lot.road.frame(s, lot.road.sign(lot.side) * (lot.inner + row + rng.normal(0, 0.15)))
                turn = np.pi / 2 * (1 if rng.random() < 0.5 else -1)
                yaw = float(heading + turn + rng.normal(0, 0.03))
                out.append(Standing(car, CATEGORIES[car].draw_size(rng), point, yaw))
    return out


def _across(road: Road, s: float, lateral: float, kind: int, rng: np.random.Generator) -> Standing:
    """A barrier or cone that begins at `s`. A barrier's width runs along the road: its heading is across it."""
    size = CATEGORIES[kind].draw_size(rng)
    point, heading = road.frame(s + size[0] / 2, lateral + rng.normal(0, 0.08))
    return Standing(kind, size, point, float(heading + np.pi / 2 + rng.normal(0, 0.06)))


def _median_row(road: Road, rng: np.random.Generator) -> list[Standing]:
    """Barriers or cones along the median."""
    out: list[Standing] = []
    start, end = road.trim_a + 3, road.length - road.trim_b - 3
    length = float(rng.uniform(15, 70))
    s = start + float(rng.uniform(0, max(0.1, end - start - length)))
    end = min(end, s + length)
    lateral = float(rng.uniform(-0.2, 0.2))
    kind = BARRIER if rng.random() < 0.6 else CONE
    while s < end - 3:
        item = _across(road, s, lateral, kind, rng)
        if road.crossing is None or abs(s - road.crossing) > 4:
            out.append(item)
        s += item.size[0] + rng.uniform(0.05, 0.5) + (2.0 if kind == CONE else 0.0)
    return out


def _site_stretch(road: Road, rng: np.random.Generator) -> Stretch | None:
    """Where on the road a building site fits, if it does."""
    room = road.length - road.trim_a - road.trim_b - 16
    if room < 14:
        return None
    length = float(rng.uniform(10, min(60, room)))
    start = road.trim_a + 8 + float(rng.uniform(0, room - length))
    if road.crossing is not None and start - 3 < road.crossing < start + length + 3:
        return None
    return Stretch(start, start + length)


def _site_fence(road: Road, side: str, site: Stretch, rng: np.random.Generator) -> list[Standing]:
    """Barriers and cones: towards the traffic where the site is on the parking strip, else behind the sidewalk."""
    out: list[Standing] = []
    outer = road.kerb(side) + (0.35 - road.strip[side] if road.strip[side] > 0 else road.sidewalk + 0.5)
    with_barriers = rng.random() < 0.6
    s = site.start
    while s < site.end:
        kind = BARRIER if with_barriers and rng.random() < 0.9 else CONE
        out.append(_across(road, s, road.sign(side) * outer, kind, rng))
        s += out[-1].size[0] + (rng.uniform(0.05, 0.5) if kind == BARRIER else rng.uniform(1.2, 4.0))
    return out


def _site_inside(road: Road, side: str, site: Stretch, rng: np.random.Generator) -> list[Standing]:
    """Machines, lorries and workers between the fence and the kerb."""
    out: list[Standing] = []
    lateral = road.kerb(side) - road.strip[side] / 2 + 0.35
    s = site.start + 2
    while s < site.end - 8:
        choice = rng.random()
        if choice < 0.33:
            kind = BY_NAME[str(rng.choice(list(MACHINES), p=list(MACHINES.values())))]
            size = CATEGORIES[kind].draw_size(rng)
            size[0] = min(size[0], road.strip[side] - 0.55)  # between the fence and the poles on the kerb
            if s + size[1] < site.end:
                beside = road.kerb(side) - road.strip[side] + 0.7 + size[0] / 2
                point, heading = road.frame(s + size[1] / 2, road.sign(side) * beside)
                out.append(Standing(kind, size, point, float(heading + rng.normal(0, 0.02))))
                s += size[1]
        elif choice < 0.6:
            point, _ = road.frame(s, road.sign(side) * (lateral + rng.uniform(-0.3, 0.5)))
            out.append(Standing(WORKER, CATEGORIES[WORKER].draw_size(rng), point, float(rng.uniform(-np.pi, np.pi))))
        s += 2.0
    return out


def _cycles(road: Road, side: str, rng: np.random.Generator) -> list[Standing]:
    """Bicycles or motorcycles parked in a row behind the sidewalk."""
    room = road.length - road.trim_a - road.trim_b - 20
    if rng.random() > 0.28 or road.sidewalk < 2.4 or room < 8:
        return []
    out: list[Standing] = []
    s = road.trim_a + 8 + float(rng.uniform(0, room))
    kind = BY_NAME["vehicle.bicycle" if rng.random() < 0.78 else "vehicle.motorcycle"]
    for _ in range(int(rng.integers(1, 4))):
        size = CATEGORIES[kind].draw_size(rng)
        point, heading = road.frame(s, road.sign(side) * (road.kerb(side) + road.sidewalk + 0.6))
        out.append(Standing(kind, size, point, float(heading + np.pi / 2 + rng.normal(0, 0.15))))
        s += size[0] + rng.uniform(0.2, 1.0)
    return out
