"""Everything that never moves, as two world rasters: the class of the ground, and what stands on it.

A cell of `column` names one of a few vertical profiles (`palette`): a wall up to some height, a tree crown above
head height, a hedge. So a whole scene's background costs two lookups per voxel column and frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from genie.data.synth.markings import Marking, bay_lines, town_markings
from genie.data.synth.polylines import bezier, unit
from genie.data.synth.roads import Road
from genie.data.synth.town import Town
from perception.types import CLASS_NAMES, FREE, GRID

Raster = NDArray[np.uint8]
CELL = 0.2  # m
BAY = 2.75  # m wide
GROUND_Z = 2  # z index of the flat surfaces, as in the derived labels of real scenes
ROAD, FLAT, SIDEWALK, TERRAIN, MANMADE, VEGETATION = (
    CLASS_NAMES.index(n) for n in ("driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation")
)


@dataclass(frozen=True)
class Scenery:
    """ground: uint8 [nx, ny], a class or FREE. column: uint8 [nx, ny], row of `palette` uint8 [n, 16] (0: empty).

    markings: the paint on the road.
    """

    ground: NDArray[np.uint8]
    column: NDArray[np.uint8]
    palette: NDArray[np.uint8]
    markings: tuple[Marking, ...] = ()

    @property
    def drivable(self) -> NDArray[np.bool_]:
        return self.ground == ROAD


@dataclass(frozen=True)
class Lot:
    """A parking lot beside a road: arc lengths s0..s1, from `inner` to `outer` m on the given side."""

    road: Road
    side: str
    s0: float
    s1: float
    inner: float
    outer: float

    @property
    def rows(self) -> tuple[float, ...]:
        """Of parking bays: m from `inner` to the middle of each row."""
        depth = self.outer - self.inner
        return (2.7, depth - 2.7, *((depth / 2 - 2.7, depth / 2 + 2.7) if depth > 30 else ()))

    @property
    def bays(self) -> NDArray[np.float64]:
        """Arc lengths of the middles of the bays of a row."""
        return np.arange(self.s0 + 1.5, self.s1 - 1.5, BAY)

    def in_driveway(self, row: int, s: float) -> bool:
        return row == 0 and abs(s - (self.s0 + self.s1) / 2) < 4.5


class Painter:
    """Draws polygons, lines and discs given in metres."""

    def __init__(self, town: Town) -> None:
        shape = (round(town.size[0] / CELL), round(town.size[1] / CELL))
        self.ground = np.full(shape, TERRAIN, np.uint8)
        self.column = np.zeros(shape, np.uint8)
        self._profiles: dict[tuple[int, int, int], int] = {}

    def fill(self, image: Raster, polygon: NDArray[np.float64], value: int) -> None:
        # Rows are x and columns y; cell i covers [i, i + 1) * CELL. Four fractional bits.
        points = np.round((polygon[:, ::-1] / CELL - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(image, [points], (value,), shift=4)

    def line(self, image: Raster, points: NDArray[np.float64], width: float, value: int) -> None:
        pixels = np.round((points[:, ::-1] / CELL - 0.5) * 16).astype(np.int32)
        cv2.polylines(image, [pixels], False, (value,), max(1, round(width / CELL)), shift=4)

    def disc(self, image: Raster, centre: NDArray[np.float64], radius: float, value: int) -> None:
        y, x = np.round((centre[::-1] / CELL - 0.5) * 16).astype(int)
        cv2.circle(image, (int(y), int(x)), max(1, round(radius / CELL * 16)), (value,), -1, shift=4)

    def look(self, image: Raster, points: NDArray[np.float64]) -> Raster:
        """Cells at points [n, 2]; outside: the nearest."""
        x, y = np.clip((points / CELL).astype(int), 0, np.array(image.shape) - 1).T
        return image[x, y]

    def profile(self, kind: int, low: float, high: float) -> int:
        """The palette row of a class that fills z from `low` to `high` (m above ground)."""
        start = max(0, GROUND_Z + round(low / GRID.voxel_size))
        stop = min(GRID.shape[2], max(start + 1, GROUND_Z + round(high / GRID.voxel_size)))
        return self._profiles.setdefault((kind, start, stop), len(self._profiles) + 1)

    def finish(self, markings: list[Marking]) -> Scenery:
        palette = np.full((len(self._profiles) + 1, GRID.shape[2]), FREE, np.uint8)
        for (kind, start, stop), row in self._profiles.items():
            palette[row, start:stop] = kind
        # Crowns may hang over the road; nothing else may stand on it.
        low = palette[:, GROUND_Z] != FREE
        self.column[(self.ground == ROAD) & low[self.column]] = 0
        return Scenery(self.ground, self.column, palette, tuple(markings))


def paint(town: Town, rng: np.random.Generator) -> tuple[Scenery, list[Lot]]:
    """Roads first, then lots, then what stands beside them."""
    painter = Painter(town)
    _paint_roads(painter, town)
    lots = _paint_lots(painter, town, rng)
    _paint_buildings(painter, town, rng)
    _paint_verges(painter, town, rng)
    return painter.finish(town_markings(town) + [m for lot in lots for m in _bay_lines(lot)]), lots


def _bay_lines(lot: Lot) -> list[Marking]:
    sign, ends = lot.road.sign(lot.side), np.append(lot.bays - BAY / 2, lot.bays[-1] + BAY / 2)
    out: list[Marking] = []
    for n, row in enumerate(lot.rows):
        at = np.array([s for s in ends if not lot.in_driveway(n, s)])
        out += bay_lines(lot.road, sign * (lot.inner + row + np.array([-2.4, 2.4])), at)
    return out


def _paint_roads(painter: Painter, town: Town) -> None:
    ground = painter.ground
    for level in ("sidewalk", "road"):
        for road in town.roads:
            extra = road.sidewalk if level == "sidewalk" else 0.0
            edges = [road.sign(side) * (road.kerb(side) + extra) for side in ("fwd", "bwd")]
            # A little beyond the stop lines, so that no seam is left to the junction.
            band = road.band(edges[0], edges[1], road.trim_a - 1, road.length - road.trim_b + 1)
            painter.fill(ground, band, SIDEWALK if level == "sidewalk" else ROAD)
        for node in range(len(town.nodes)):
            outline = _junction_outline(town, node, level == "sidewalk")
            painter.fill(ground, outline, SIDEWALK if level == "sidewalk" else ROAD)
    for road in town.roads:
        if road.median > 0:
            half = road.median / 2
            band = road.band(-half, half, road.trim_a + 2, road.length - road.trim_b - 2)
            painter.fill(ground, band, FLAT)
            if road.crossing is not None:
                painter.fill(ground, road.band(-half, half, road.crossing - 1.5, road.crossing + 1.5), ROAD)


def _junction_outline(town: Town, node: int, with_sidewalk: bool) -> NDArray[np.float64]:
    """The polygon of a junction: straight over the stop lines, an arc from each road's kerb to the next one's."""
    ends = []  # per road, counter-clockwise: right and left kerb as seen leaving the junction, and the way out
    for i in town.approaches(node):
        road = town.roads[i]
        s, _ = road.end(node)
        left = 1 if road.a == node else -1
        kerbs = {road.sign(side): road.kerb(side) + road.sidewalk * with_sidewalk for side in ("fwd", "bwd")}
        right_kerb, left_kerb = (road.frame(s, sign * kerbs[sign])[0] for sign in (-left, left))
        heading = float(road.frame(s, 0.0)[1]) + (0.0 if road.a == node else np.pi)
        ends.append((right_kerb, left_kerb, unit(heading)))
    outline = []
    for (right, left_kerb, out), (following, _, out_following) in zip(ends, [*ends[1:], ends[0]], strict=True):
        handle = 0.5 * float(np.linalg.norm(following - left_kerb))
        arc = bezier(left_kerb, left_kerb - handle * out, following - handle * out_following, following, 16)
        outline += [right[None], arc]
    return np.concatenate(outline)


def _paint_lots(painter: Painter, town: Town, rng: np.random.Generator) -> list[Lot]:
    lots: list[Lot] = []
    share = rng.choice([0.0, 0.25, 0.6], p=[0.35, 0.4, 0.25])
    for road in town.roads:
        for side in ("fwd", "bwd"):
            if rng.random() > share:
                continue
            length, depth = rng.uniform(22, 60), (17.5, 23.0, 34.0)[int(rng.integers(3))]
            room = road.length - road.trim_a - road.trim_b - length - 6
            if room <= 0:
                continue
            s0 = road.trim_a + 3 + rng.uniform(0, room)
            inner = road.kerb(side) + road.sidewalk
            lot = Lot(road, side, s0, s0 + length, inner, inner + depth)
            sign = road.sign(side)
            probe = np.stack(
                np.meshgrid(np.arange(s0, s0 + length), np.arange(inner + 1.0, lot.outer + 2)), -1
            ).reshape(-1, 2)
            if (painter.look(painter.ground, road.frame(probe[:, 0], sign * probe[:, 1])[0]) != TERRAIN).any():
                continue
            painter.fill(painter.ground, road.band(sign * inner, sign * lot.outer, s0, s0 + length), ROAD)
            middle = s0 + length / 2  # the driveway over the sidewalk
            driveway = road.band(sign * (inner - road.sidewalk - 0.3), sign * (inner + 0.3), middle - 3, middle + 3)
            painter.fill(painter.ground, driveway, ROAD)
            lots.append(lot)
    return lots


def _paint_buildings(painter: Painter, town: Town, rng: np.random.Generator) -> None:
    """Footprints along the roads; only their walls are seen, and nothing inside."""
    footprint = np.zeros_like(painter.ground)
    density = rng.uniform(0.15, 0.85)
    for road in town.roads:
        setback = rng.uniform(0.3, 9.0)
        for side in ("fwd", "bwd"):
            s, end = road.trim_a * 0.6, road.length - road.trim_b * 0.6
            while s < end - 8:
                width = rng.uniform(9, 34)
                if rng.random() < density:
                    front = road.kerb(side) + road.sidewalk + setback + rng.uniform(0, 2.5)
                    sign = road.sign(side)
                    band = road.band(sign * front, sign * (front + rng.uniform(8, 20)), s, min(s + width, end))
                    high = float(rng.choice([2.8, 3.6, 5.4], p=[0.12, 0.18, 0.7]))
                    painter.fill(footprint, band, painter.profile(MANMADE, 0.0, high))
                s += width + rng.choice([0.0, rng.uniform(2, 9)])
    # Keep the public space and half a metre beside it clear.
    public = (painter.ground != TERRAIN).astype(np.uint8)
    footprint[cv2.dilate(public, np.ones((5, 5), np.uint8)) > 0] = 0
    inside = cv2.erode((footprint > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    wall = (footprint > 0) & ~inside
    painter.column[wall] = footprint[wall]
    painter.ground[inside] = FREE


def _paint_verges(painter: Painter, town: Town, rng: np.random.Generator) -> None:
    """Hedges, fences, bushes where the land is free; trees and poles on the kerb as well."""
    behind, street = np.zeros_like(painter.column), np.zeros_like(painter.column)
    for road in town.roads:
        for side in ("fwd", "bwd"):
            _paint_boundary(painter, behind, road, side, rng)
            _paint_bushes(painter, behind, road, side, rng)
            _paint_trees_and_poles(painter, street, road, side, rng)
    behind[painter.ground != TERRAIN] = 0
    for layer in (behind, street):
        free = painter.column == 0
        painter.column[free] = layer[free]


def _paint_boundary(painter: Painter, layer: Raster, road: Road, side: str, rng: np.random.Generator) -> None:
    s, end = road.trim_a + 1, road.length - road.trim_b - 1
    while s < end - 6:
        length = min(rng.uniform(6, 30), end - s)
        choice = rng.random()
        line = road.offset(road.sign(side) * (road.kerb(side) + road.sidewalk + rng.uniform(0.5, 1.0)), s, s + length)
        if choice < 0.16:
            painter.line(layer, line, 0.9, painter.profile(VEGETATION, 0.0, float(rng.uniform(0.8, 2.0))))
        elif choice < 0.30:
            painter.line(layer, line, 0.4, painter.profile(MANMADE, 0.0, float(rng.uniform(1.0, 2.4))))
        s += length + rng.uniform(0, 12)


def _paint_bushes(painter: Painter, layer: Raster, road: Road, side: str, rng: np.random.Generator) -> None:
    start, end = road.trim_a, road.length - road.trim_b
    for _ in range(int(rng.poisson(max(0.0, end - start) / 14))):
        lateral = road.kerb(side) + road.sidewalk + rng.uniform(3, 22)
        point = road.frame(rng.uniform(start, end), road.sign(side) * lateral)[0]
        low, high = (0.0, float(rng.uniform(0.8, 2.4))) if rng.random() < 0.5 else (1.6, 6.0)
        painter.disc(layer, point, float(rng.uniform(0.7, 3.2)), painter.profile(VEGETATION, low, high))


def _paint_trees_and_poles(painter: Painter, layer: Raster, road: Road, side: str, rng: np.random.Generator) -> None:
    start, end, sign = road.trim_a + 3, road.length - road.trim_b - 3, road.sign(side)
    at_kerb = road.kerb(side) + (0.45 if road.sidewalk > 2.2 else road.sidewalk + 1.2)
    planted = rng.random() < 0.6
    for at in np.arange(start, end, rng.uniform(7, 16)):
        if not planted or rng.random() < 0.2:
            continue
        point = road.frame(at, sign * at_kerb)[0]
        crown = painter.profile(VEGETATION, float(rng.uniform(2.4, 3.4)), float(rng.uniform(4.2, 6.0)))
        painter.disc(layer, point, float(rng.uniform(1.2, 2.8)), crown)
        painter.disc(layer, point, 0.25, painter.profile(VEGETATION, 0.0, 4.4))
    for at in np.arange(start + rng.uniform(0, 12), end, rng.uniform(18, 35)):
        painter.disc(layer, road.frame(at, sign * (road.kerb(side) + 0.4))[0], 0.22, painter.profile(MANMADE, 0.0, 5.6))
