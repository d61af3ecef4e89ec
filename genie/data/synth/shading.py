"""From what rays met to the light that comes back along them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genie.data.synth import textures
from genie.data.synth.light import Light, unit_rows
from genie.data.synth.materials import ALBEDO, GLOSS, INDEX, PALETTES
from genie.data.synth.sampling import Floats, noise
from genie.data.synth.surfaces import Seen, Surfaces
from genie.data.synth.tracer import FAR, Tracer

_LIFT = 0.02  # m off the surface where rays towards the sun begin
_COLOURED = {name: INDEX[name] for name in ("paint", "cargo", "shirt", "trousers")}
_GLOWS = {"headlamp": 0.25, "taillamp": 0.12}


def radiance(
    surfaces: Surfaces, light: Light, seen: Seen, origin: Floats, directions: Floats, moving: Tracer, spread: float
) -> Floats:
    """Linear colours [n, 3] that come back along rays from one origin [3] in unit directions [n, 3].

    spread: rad, between the rays of neighbouring pixels.
    """
    out = np.empty((len(directions), 3), np.float32)
    sky = seen.distance >= FAR
    out[sky] = light.sky(directions[sky])
    rays = np.flatnonzero(~sky)
    direction, distance = directions[rays], seen.distance[rays]
    facing = np.einsum("ij,ij->i", seen.normal[rays], direction)
    normal = np.where(facing[:, None] > 0, -seen.normal[rays], seen.normal[rays])  # towards the camera
    points = origin + direction * distance[:, None]
    grazing = np.maximum(np.abs(facing), np.float32(0.05))
    footprint = distance * np.float32(spread) / np.sqrt(grazing)
    material = seen.material[rays]

    albedo, gloss, normal = _surface(surfaces, seen, rays, points, normal, footprint)
    towards = np.einsum("ij,j->i", normal, light.towards_sun)
    lit = np.flatnonzero(towards > 0)
    start = points[lit] + np.float32(_LIFT) * (normal[lit] - direction[lit])
    to_sun = np.broadcast_to(light.towards_sun, start.shape).copy()
    shadow = surfaces.static.blocked(start, to_sun)
    open_ = np.flatnonzero(~shadow)
    shadow[open_] = moving.blocked(start[open_], to_sun[open_])
    sun = np.zeros(len(rays), np.float32)
    sun[lit] = np.where(shadow, 0, towards[lit])

    colour = albedo * (light.ambient(normal) * _closeness(material, points, surfaces) + sun[:, None] * light.sun)
    for name, glow in _GLOWS.items():
        lamp = material == INDEX[name]
        colour[lamp] += np.float32(glow) * albedo[lamp]
    shiny = np.flatnonzero(gloss > 0)
    d, n = direction[shiny], normal[shiny]
    cosine = np.einsum("ij,ij->i", d, n)
    fresnel = gloss[shiny] + (1 - gloss[shiny]) * np.float32(0.8) * (1 + np.minimum(cosine, 0)) ** 5
    mirrored = light.mirrored(d - 2 * cosine[:, None] * n)
    colour[shiny] += fresnel[:, None] * (mirrored - colour[shiny])
    out[rays] = light.haze(colour, distance)
    return out


def _closeness(material: NDArray[np.uint8], points: Floats, surfaces: Surfaces) -> Floats:
    """Share of the sky's light that is left near the ground and between leaves, [n, 1]."""
    height = surfaces.height(points)
    open_ = np.clip(np.float32(0.55) + np.float32(0.45) * height, 0, 1)
    ground = material == INDEX["ground"]
    open_[ground] = 1
    return open_[:, None]


def _surface(
    surfaces: Surfaces, seen: Seen, rays: NDArray[np.int64], points: Floats, normal: Floats, footprint: Floats
) -> tuple[Floats, Floats, Floats]:
    """Of the chosen rays [n]: albedo [n, 3], gloss [n], and the normal [n, 3] where leaves bend it."""
    material, style = seen.material[rays], seen.style[rays]
    albedo, gloss = ALBEDO[material], GLOSS[material]
    for name, index in _COLOURED.items():
        chosen = np.flatnonzero(material == index)
        palette = PALETTES[name]
        albedo[chosen] = palette[(style[chosen] // 7) % len(palette)]
    seams = np.flatnonzero(material == INDEX["seam"])
    albedo[seams] = np.float32(0.7) * PALETTES["cargo"][(style[seams] // 7) % len(PALETTES["cargo"])]
    ground = np.flatnonzero(material == INDEX["ground"])
    albedo[ground] = textures.ground(points[ground], footprint[ground], surfaces.ground)
    walls = np.flatnonzero(material == INDEX["facade"])
    at = points[walls]
    height, shift = surfaces.height(at), seen.shift[rays[walls]]
    wall = textures.facade(at, height, normal[walls], style[walls], shift, footprint[walls])
    albedo[walls], gloss[walls] = wall.albedo, np.float32(0.16) * wall.pane
    fences = np.flatnonzero(material == INDEX["fence"])
    albedo[fences] *= textures.panels(points[fences], normal[fences], seen.shift[rays[fences]], footprint[fences])
    leaves = np.flatnonzero(material == INDEX["foliage"])
    albedo[leaves] = textures.foliage(points[leaves], style[leaves], footprint[leaves])
    x, y, z = points[leaves].T
    bend = np.stack([noise(x + z, y, 0.05), noise(y + z, x, 0.05), noise(x - y, z, 0.05)], 1)
    normal[leaves] = unit_rows(normal[leaves] + np.float32(0.55) * bend)
    return albedo, gloss, normal
