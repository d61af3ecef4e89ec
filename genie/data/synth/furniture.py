"""What stands: parked vehicles on strips and lots, building sites with barriers and cones, parked cycles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.categories import BY_NAME, CATEGORIES
from genie.data.synth.scenery import Lot
from genie.data.synth.roads import Road
from genie.data.synth.town import Town

Array = NDArray[np.float64]
PARKED = {
    "vehicle.car": 0.885, "vehicle.truck": 0.06, "vehicle.bus.rigid": 0.012, "vehicle.trailer": 0.012,
    "vehicle.construction": 0.008, "vehicle.motorcycle": 0.023,
}  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """kind: index into CATEGORIES. size: [w, l, h] (m). point: [2] (m). heading: rad."""

    kind: int
    size: Array
    point: Array
    heading: float


def furnish(town: Town, lots: list[Lot], rng: np.random.Generator) -> list[Standing]:
    """Everything that stands in the town. Items of one strip never overlap: they are packed along it."""
    out: list[Standing] = []
    fill = rng.beta(2.0, 1.3)
    site_share = rng.choice([0.0, 0.12, 0.45], p=[0.35, 0.4, 0.25])
    for road in town.roads:
        for side in ("fwd", "bwd"):
            busy: tuple[float, float] | None = None
            if rng.random() < site_share:
                busy = _site(out, road, side, rng)
            if road.strip[side] > 0:
                _park_along(out, road, side, float(np.clip(fill + rng.normal(0, 0.2), 0.02, 0.98)), busy, rng)
            _cycles(out, road, side, rng)
    for lot in lots:
        _park_lot(out, lot, rng)
    return out


def _park_along(
    out: list[Standing], road: Road, side: str, fill: float, busy: tuple[float, float] | None, rng: np.random.Generator
) -> None:
    """Parallel parking between the junctions, with room for crossings and for a building site."""
    s, end = road.trim_a + 5, road.length - road.trim_b - 5
    lateral = road.kerb(side) - road.strip[side] / 2
    while s < end - 4:
        kind = BY_NAME[str(rng.choice(list(PARKED), p=list(PARKED.values())))]
        size = CATEGORIES[kind].draw_size(rng)
        size[0] = min(size[0], road.strip[side])
        middle, length = s + size[1] / 2, size[1]
        blocked = [b for b in (busy, _around(road.crossing)) if b and s < b[1] and s + length > b[0]]
        if blocked:
            s = max(b[1] for b in blocked) + 0.5
            continue
        if s + length < end and rng.random() < fill:
            point, heading = road.frame(middle, road.sign(side) * (lateral + rng.normal(0, 0.1)))
            forward = (side == "fwd") != (rng.random() < 0.04)
            yaw = float(heading) + (0.0 if forward else np.pi) + float(rng.normal(0, 0.025))
            out.append(Standing(kind, size, point, yaw))
        s += length + rng.uniform(0.6, 1.6)


def _around(crossing: float | None) -> tuple[float, float] | None:
    return None if crossing is None else (crossing - 2.5, crossing + 2.5)


def _park_lot(out: list[Standing], lot: Lot, rng: np.random.Generator) -> None:
    """Rows of perpendicular bays with aisles of 6 m; the driveway's aisle stays free."""
    fill = rng.uniform(0.35, 0.97)
    depth = lot.outer - lot.inner
    rows = [2.7, depth - 2.7] if depth < 20 else [2.7, depth - 2.7, depth / 2 - 2.7, depth / 2 + 2.7]
    if depth < 30:
        rows = rows[:2]
    car = BY_NAME["vehicle.car"]
    for n, row in enumerate(rows):
        s = lot.s0 + 1.5
        while s < lot.s1 - 1.5:
            drive = n == 0 and abs(s - (lot.s0 + lot.s1) / 2) < 4.5
            if rng.random() < fill and not drive:
                size = CATEGORIES[car].draw_size(rng)
                point, heading = lot.road.frame(s, lot.road.sign(lot.side) * (lot.inner + row + rng.normal(0, 0.15)))
                turn = np.pi / 2 * (1 if rng.random() < 0.5 else -1)
                out.append(Standing(car, size, point, float(heading + turn + rng.normal(0, 0.03))))
            s += 2.75


def _site(out: list[Standing], road: Road, side: str, rng: np.random.Generator) -> tuple[float, float] | None:
    """A building site on the parking strip (or behind the kerb): barriers, cones, a machine, workers."""
    room = road.length - road.trim_a - road.trim_b - 16
    if room < 14:
        return None
    length = float(rng.uniform(10, min(45, room)))
    s0 = road.trim_a + 8 + float(rng.uniform(0, room - length))
    if road.crossing is not None and s0 - 3 < road.crossing < s0 + length + 3:
        return None
    sign, kerb = road.sign(side), road.kerb(side)
    has_strip = road.strip[side] > 0
    outer = kerb - road.strip[side] + 0.35 if has_strip else kerb + road.sidewalk + 0.5
    barrier, cone = BY_NAME["movable_object.barrier"], BY_NAME["movable_object.trafficcone"]
    s = s0
    with_barriers = rng.random() < 0.6
    while s < s0 + length:
        kind = barrier if with_barriers and rng.random() < 0.9 else cone
        size = CATEGORIES[kind].draw_size(rng)
        point, heading = road.frame(s + size[0] / 2, sign * (outer + rng.normal(0, 0.08)))
        # A barrier's width runs along the road: its heading is across it.
        out.append(Standing(kind, size, point, float(heading + np.pi / 2 + rng.normal(0, 0.06))))
        s += size[0] + (rng.uniform(0.05, 0.5) if kind == barrier else rng.uniform(1.2, 4.0))
    inside = kerb - road.strip[side] / 2 + 0.3 if has_strip else kerb + road.sidewalk + 4.5
    s = s0 + 2
    while has_strip and s < s0 + length - 8:
        if rng.random() < 0.25:
            kind = BY_NAME[str(rng.choice(["vehicle.construction", "vehicle.truck", "vehicle.trailer"]))]
            size = CATEGORIES[kind].draw_size(rng)
            size[0] = min(size[0], road.strip[side] - 0.75)
            point, heading = road.frame(s + size[1] / 2, sign * inside)
            if s + size[1] < s0 + length:
                out.append(Standing(kind, size, point, float(heading + rng.normal(0, 0.02))))
                s += size[1]
        elif rng.random() < 0.3:
            kind = BY_NAME["human.pedestrian.construction_worker"]
            point, heading = road.frame(s, sign * (inside + rng.uniform(-0.3, 0.5)))
            out.append(Standing(kind, CATEGORIES[kind].draw_size(rng), point, float(rng.uniform(-np.pi, np.pi))))
        s += 2.0
    return s0 - 1, s0 + length + 1


def _cycles(out: list[Standing], road: Road, side: str, rng: np.random.Generator) -> None:
    """Bicycles and motorcycles parked in a row on the sidewalk's edge."""
    if rng.random() > 0.16 or road.sidewalk < 2.4:
        return
    room = road.length - road.trim_a - road.trim_b - 20
    if room < 8:
        return
    s = road.trim_a + 8 + float(rng.uniform(0, room))
    kind = BY_NAME["vehicle.bicycle" if rng.random() < 0.65 else "vehicle.motorcycle"]
    lateral = road.sign(side) * (road.kerb(side) + road.sidewalk + 0.6)
    for _ in range(int(rng.integers(1, 7))):
        size = CATEGORIES[kind].draw_size(rng)
        point, heading = road.frame(s, lateral)
        out.append(Standing(kind, size, point, float(heading + np.pi / 2 + rng.normal(0, 0.15))))
        s += size[0] + rng.uniform(0.2, 1.0)
