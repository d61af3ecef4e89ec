"""Everything of a world that never moves, as one mesh: ground, buildings, fences, poles, greenery, what is parked.

Heights are physical (above the town's zero): the ground follows the elevation. What stands is cut out of the scenery's
raster, outline by outline, so that the lidar sees what the labels say.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from genie.data.synth.greenery import Profile, foliage_mesh, profiles
from genie.data.synth.meshes import bodies
from genie.data.synth.scenery import CELL, GROUND_Z, MANMADE, VEGETATION, Scenery
from genie.data.synth.tracer import Mesh, join, lattice, surface
from genie.data.synth.world import Elevation, World

Array = NDArray[np.float64]

GROUND_STEP = 4.0  # m between the vertices of the ground inside the town
HORIZON = 1200.0  # m of land around the town, so that there is a horizon
OUTSKIRTS = 260.0  # m around the raster with houses and trees
TOLERANCE = 0.15  # m that an outline may deviate from its cells
POLE_AREA = 0.7  # m2: smaller things of stone or steel are poles


def static_mesh(world: World) -> Mesh:
    """The mesh of a world without what moves."""
    parts = [ground_mesh(world.elevation, world.scenery.ground.shape)]
    for profile in profiles(world.scenery):
        mask = world.scenery.column == profile.row
        if profile.kind == MANMADE or profile.is_trunk:
            parts.append(extrude(mask, profile, world.elevation))
        elif profile.is_crown:
            parts.append(trunks(mask, world.scenery, profile, world.elevation))
    parts.append(foliage_mesh(world.scenery, world.elevation))
    parts.append(outskirts(world.elevation, world.scenery.ground.shape))
    boxes = world.boxes(0.0)
    parts.append(bodies(boxes.select(boxes.parked), world.datum(0.0)))
    return join(parts)


def ground_mesh(elevation: Elevation, shape: tuple[int, ...]) -> Mesh:
    """A fine grid below the raster, growing coarser towards the horizon."""
    beyond = np.geomspace(8.0, HORIZON, 14)
    x, y = (
        np.concatenate([-beyond[::-1], np.arange(0, n * CELL, GROUND_STEP), n * CELL + np.append(0.0, beyond)])
        for n in shape
    )
    plane = np.stack(np.meshgrid(x, y, indexing="ij"), -1)
    vertices = np.concatenate([plane, elevation.at(plane)[..., None]], -1).reshape(-1, 3)
    return surface(vertices, lattice(len(x), len(y)), "ground")


def outskirts(elevation: Elevation, shape: tuple[int, ...]) -> Mesh:
    """Houses and trees around the raster, so that the town does not end in a plain: no label reaches that far."""
    rng = np.random.default_rng(shape)
    size = np.array(shape) * CELL
    count = 420
    centre = rng.uniform(-OUTSKIRTS, size + OUTSKIRTS, (count, 2))
    outside = ((centre < -25) | (centre > size + 25)).any(1)
    parts = []
    for n in np.flatnonzero(outside):
        if rng.random() < 0.35:
            half, turn = rng.uniform(4, 14, 2), rng.uniform(0, np.pi)
            corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half
            outline = centre[n] + corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            parts.append(prism(outline, 0.0, 3.2 * float(rng.integers(1, 7)), elevation, "facade", int(n) * 97))
        else:
            parts.append(_grove(centre[n], elevation, rng))
    return join(parts)


def _grove(centre: Array, elevation: Elevation, rng: np.random.Generator) -> Mesh:
    """A group of trees far off: uneven balls."""
    rows, sides = 5, 9
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    longitude = np.linspace(0, 2 * np.pi, sides)
    ball = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude) + 0 * longitude],
        -1,
    )
    parts = []
    for _ in range(int(rng.integers(2, 7))):
        radius = np.array([*[rng.uniform(2, 4.5)] * 2, rng.uniform(2.5, 5)])
        vertices = ball * radius * (1 + rng.uniform(-0.18, 0.18, (rows, sides, 1)))
        place = centre + rng.normal(0, 7, 2)
        vertices += np.append(place, elevation.at(place) + 0.8 * radius[2])
        parts.append(surface(vertices.reshape(-1, 3), lattice(rows, sides), "foliage", int(rng.integers(65536))))
    return join(parts)


def outlines(mask: NDArray[np.bool_]) -> Iterator[tuple[Array, float]]:
    """Simplified outlines [n, 2] (m) of what is set in a raster, through the centres of its border cells: half a cell
    within what the labels fill. With the area (m2) of each."""
    for contour in cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        area = (cv2.contourArea(contour) + len(contour) / 2 + 1) * CELL**2
        simple = cv2.approxPolyDP(contour, TOLERANCE / CELL, True)[:, 0].astype(np.float64)
        yield (simple[:, ::-1] + 0.5) * CELL, area


def extrude(mask: NDArray[np.bool_], profile: Profile, elevation: Elevation) -> Mesh:
    """Walls, fences and poles."""
    parts = []
    for outline, area in outlines(mask):
        centre = outline.mean(0)
        style = int(np.abs(centre * [73.0, 179.0]).sum()) % 65536
        if profile.is_trunk or area < POLE_AREA or len(outline) < 3:
            parts.append(pole(centre, profile, elevation, style))
        elif profile.high > 2.6:
            storeys = (0, 0, 1, 2, 4)[style % 5] if profile.open else 0
            parts.append(prism(outline, profile.low, profile.high + 3.2 * storeys, elevation, "facade", style))
        else:
            parts.append(prism(outline, profile.low, profile.high, elevation, "fence", style))
    return join(parts)


def trunks(crowns: NDArray[np.bool_], scenery: Scenery, profile: Profile, elevation: Elevation) -> Mesh:
    """One below each crown of a profile that the scenery gives none."""
    standing = scenery.palette[:, GROUND_Z] == VEGETATION
    parts = []
    for contour in cv2.findContours(crowns.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        (y, x), (column, row, width, height) = contour[:, 0].mean(0), cv2.boundingRect(contour)
        if not standing[scenery.column[row : row + height, column : column + width]].any():
            centre = (np.array([x, y]) + 0.5) * CELL
            stem = profile._replace(low=0.0, high=(profile.low + profile.high) / 2)
            parts.append(pole(centre, stem, elevation, int(x)))
    return join(parts)


def prism(outline: Array, low: float, high: float, elevation: Elevation, material: str, style: int) -> Mesh:
    """An outline [n, 2] between two heights above the ground, with a flat top at its highest."""
    import mapbox_earcut

    n = len(outline)
    following = np.roll(outline, -1, axis=0)
    if (outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum() < 0:
        outline = outline[::-1]  # anticlockwise, so that patterns run the way they are looked up
    ground = elevation.at(outline)
    bottom, top = ground + low - (0.3 if low == 0 else 0.0), np.full(n, ground.max() + high)
    vertices = np.concatenate([np.column_stack([outline, bottom]), np.column_stack([outline, top])])
    i, j = np.arange(n), (np.arange(n) + 1) % n
    side = outline[j] - outline
    length = np.linalg.norm(side, axis=1)
    start = np.cumsum(length) - length
    # A pattern runs on around the corners: m along the outline, less what the place alone would give (see `facade`).
    shift = start - (outline * side).sum(1) / np.maximum(length, 1e-9)
    walls = surface(
        vertices, np.concatenate([np.stack([i, j, j + n], 1), np.stack([i, j + n, i + n], 1)]), material, style
    )
    walls = walls._replace(shift=np.tile(shift, 2).astype(np.float32))
    triangles = mapbox_earcut.triangulate_float64(outline, np.array([n], np.uint32)).reshape(-1, 3)
    roof = "roof" if material == "facade" else material
    return join([walls, surface(vertices[n:], triangles.astype(np.int64), roof, style)])


def pole(centre: Array, profile: Profile, elevation: Elevation, style: int) -> Mesh:
    """A trunk or a lamp post: six sides."""
    radius, material = (0.15, "trunk") if profile.is_trunk else (0.09, "pole")
    angle = np.arange(6) * np.pi / 3
    outline = centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    return prism(outline, profile.low, profile.high, elevation, material, style)
