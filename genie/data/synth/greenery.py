"""Crowns, hedges and bushes as surfaces: round towards the borders of their cells, rough all over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from genie.data.synth.scenery import CELL, GROUND_Z, VEGETATION, Scenery
from genie.data.synth.tracer import Mesh, surface
from genie.data.synth.world import Elevation
from perception.types import FREE, GRID

EVERY = 2  # cells of the raster to one of the mesh
STEP = EVERY * CELL  # m
OPEN_CROWN = 1.8  # m that a crown goes on above the grid of the labels
ROUGHNESS = 0.14  # m, of the vertices to the side; a share of the height upwards


class Profile(NamedTuple):
    """A row of the palette: a class from `low` to `high`, m above the ground. open: it reaches the top of the labels'
    grid and may be higher."""

    row: int
    kind: int
    low: float
    high: float
    open: bool

    @property
    def is_crown(self) -> bool:
        return self.kind == VEGETATION and self.low > 0

    @property
    def is_trunk(self) -> bool:
        """Greenery from the ground to above the head: only trunks are drawn so."""
        return self.kind == VEGETATION and self.low == 0 and self.high > 2.6


def profiles(scenery: Scenery) -> Iterator[Profile]:
    for row, column in enumerate(scenery.palette):
        filled = np.flatnonzero(column != FREE)
        if len(filled):
            low, high = ((z - GROUND_Z) * GRID.voxel_size for z in (filled[0], filled[-1] + 1))
            yield Profile(row, int(column[filled[0]]), max(0.0, low), high, filled[-1] == GRID.shape[2] - 1)


def _cells(scenery: Scenery, rows: list[Profile]) -> NDArray[np.uint8]:
    """The palette row of greenery in each cell of the raster, 0: none. Crowns are closed over their trunks."""
    keep, trunk = np.zeros((2, len(scenery.palette)), bool)
    for profile in rows:
        (trunk if profile.is_trunk else keep)[profile.row] = True
    column = np.where(keep[scenery.column], scenery.column, 0).astype(np.uint8)
    around = cv2.dilate(column, np.ones((7, 7), np.uint8))
    return np.where(trunk[scenery.column], around, column).astype(np.uint8)


def _depth(column: NDArray[np.uint8]) -> NDArray[np.float32]:
    """m from each cell to the nearest one of another row."""
    same = column > 0
    for axis in (0, 1):
        differs = np.diff(column, axis=axis) != 0
        low, high = [slice(None)] * 2, [slice(None)] * 2
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        same[tuple(low)] &= ~differs
        same[tuple(high)] &= ~differs
    inner: NDArray[np.float32] = cv2.distanceTransform(same.astype(np.uint8), cv2.DIST_L2, 3) * CELL
    return inner + np.where(column > 0, np.float32(CELL / 2), np.float32(0))


def foliage_mesh(scenery: Scenery, elevation: Elevation) -> Mesh:
    """All greenery of a scenery but its trunks."""
    rows = [p for p in profiles(scenery) if p.kind == VEGETATION]
    column = _cells(scenery, rows)
    depth = _depth(column)
    # At the corners between cells: the least depth around. How thick a thing is: the greatest depth nearby.
    corner = np.pad(cv2.erode(depth, np.ones((2, 2), np.uint8)), ((0, EVERY), (0, EVERY)))[::EVERY, ::EVERY]
    thick = np.maximum(cv2.dilate(corner, np.ones((9, 9), np.uint8)), 0.4)
    cell = column[::EVERY, ::EVERY]
    share = np.clip(corner / thick, 0, 1)
    bulge = np.sqrt(share * (2 - share))
    random = np.random.default_rng(1).uniform(-1, 1, (4, 256, 256)).astype(np.float32)  # repeats every 102 m

    low, high = np.zeros((2, len(scenery.palette)), np.float32)
    for profile in rows:
        low[profile.row], high[profile.row] = profile.low, profile.high + (OPEN_CROWN if profile.open else 0.0)
    i, j = np.nonzero(cell)
    row = cell[i, j]
    # Four corners of each cell, anticlockwise, [n, 4].
    ci, cj = i[:, None] + [0, 1, 1, 0], j[:, None] + [0, 0, 1, 1]
    random = random[:, ci % 256, cj % 256]
    xy = np.stack([ci, cj], -1) * STEP + ROUGHNESS * np.moveaxis(random[:2], 0, -1)
    ground = elevation.at(xy)
    bottom, top = low[row][:, None], high[row][:, None]
    round_, noise = bulge[ci, cj], random[2:]
    hanging = bottom > 0
    middle, half = (bottom + top) / 2, (top - bottom) / 2
    upper = np.where(hanging, middle + half * round_, top * (0.45 + 0.55 * round_)) + 0.22 * half * noise[0]
    lower = np.where(hanging, middle - half * 0.85 * round_ + 0.22 * half * noise[1], -0.2)
    lower = np.minimum(lower, upper)
    n = len(row)
    vertices = np.concatenate(
        [np.concatenate([xy, (ground + z)[..., None]], -1).reshape(-1, 3) for z in (upper, lower)]
    )
    up = (np.arange(n)[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    faces = [up, up + 4 * n]
    grown = np.pad(cell, 1)
    owner = [np.arange(n).repeat(2)] * 2
    for a, (di, dj) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0))):
        b = (a + 1) % 4
        border = np.flatnonzero(grown[i + 1 + di, j + 1 + dj] != row)
        p, q = border * 4 + a, border * 4 + b
        faces += [np.stack([p, q, q + 4 * n], 1), np.stack([p, q + 4 * n, p + 4 * n], 1)]
        owner += [border, border]
    plant = cv2.connectedComponents((cell > 0).astype(np.uint8))[1][i, j] * 7919 + row.astype(np.int64) * 31
    return surface(vertices, np.concatenate(faces), "foliage", plant[np.concatenate(owner)] % 65536)
