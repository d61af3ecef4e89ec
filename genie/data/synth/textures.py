"""What surfaces look like close up: asphalt with its paint, slabs, grass, facades with windows, foliage.

All take points and how wide a pixel is there (`footprint`, m), and fade details that are finer, so that nothing
flickers far away. Albedos are linear red, green, blue, [n, 3].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.materials import PALETTES
from genie.data.synth.paint import GroundMap
from genie.data.synth.sampling import Floats, grain, jitter, noise

_ASPHALT = np.array([0.105, 0.104, 0.106], np.float32)
_FLAT = np.array([0.21, 0.20, 0.185], np.float32)
_SLAB = np.array([0.30, 0.285, 0.265], np.float32)
_KERB = np.array([0.29, 0.285, 0.275], np.float32)
_GRASS = np.array([[0.085, 0.125, 0.030], [0.130, 0.140, 0.050], [0.170, 0.135, 0.085]], np.float32)  # lush, dry, bare
_WHITE = np.array([0.66, 0.66, 0.64], np.float32)
_YELLOW = np.array([0.62, 0.42, 0.07], np.float32)
_GLASS = np.array([0.030, 0.036, 0.042], np.float32)
_CURTAIN = np.array([0.26, 0.25, 0.22], np.float32)


def _fade(size: float, footprint: Floats) -> Floats:
    """1 where a detail of `size` (m) is well resolved, 0 where a pixel holds several."""
    return np.clip(np.float32(size) / np.maximum(footprint, np.float32(1e-4)) - np.float32(0.5), 0, 1)


def _column(values: Floats) -> Floats:
    return values[:, None]


def ground(points: Floats, footprint: Floats, map_: GroundMap) -> Floats:
    """The ground at points [n, 3]."""
    xy = points[:, :2]
    x, y = xy[:, 0], xy[:, 1]
    cover = map_.cover(xy)
    fine = grain(x, y, 0.02) * _fade(0.04, footprint)
    middle = grain(y, x, 0.09) * _fade(0.2, footprint)
    wide = noise(x, y, 0.35)
    terrain = 1 - cover.road - cover.flat - cover.sidewalk
    kind = np.argmax(np.stack([cover.road, cover.flat, cover.sidewalk, terrain]), axis=0)

    out = np.empty((len(points), 3), np.float32)
    road = np.flatnonzero(kind == 0)
    out[road] = _road(x[road], y[road], fine[road], middle[road], wide[road], footprint[road], map_, xy[road])
    paved = np.flatnonzero(kind == 1)
    out[paved] = _FLAT * _column(1 + 0.09 * fine[paved] + 0.07 * middle[paved] + 0.05 * wide[paved])
    walk = np.flatnonzero(kind == 2)
    out[walk] = _slabs(x[walk], y[walk], footprint[walk]) * _column(1 + 0.06 * fine[walk] + 0.06 * middle[walk])
    wild = np.flatnonzero(kind == 3)
    out[wild] = _grass(fine[wild], middle[wild], wide[wild])
    # A kerb stone where road gives way to anything else, a gutter before it.
    kerb = (cover.road > 0.20) & (cover.road < 0.5)
    out[kerb] = _KERB * _column(1 + 0.08 * fine[kerb] + 0.06 * middle[kerb])
    gutter = (cover.road >= 0.5) & (cover.road < 0.72)
    out[gutter] *= np.float32(0.72)
    return out


def _road(
    x: Floats, y: Floats, fine: Floats, middle: Floats, wide: Floats, footprint: Floats, map_: GroundMap, xy: Floats
) -> Floats:
    base = _ASPHALT * _column(1 + 0.13 * fine + 0.06 * middle + 0.12 * wide)
    # Repairs: darker patches with sharp borders.
    patch = noise(y, x, 2.1) > 1.55
    base[patch] *= np.float32(0.72)
    sharp = np.clip(np.float32(0.05) / np.maximum(footprint, np.float32(0.01)), 1, 4)
    wear = np.clip(np.float32(0.92) - np.float32(0.16) * np.maximum(middle + fine, 0), 0.35, 1)
    for cover, colour in ((map_.white(xy), _WHITE), (map_.yellow(xy), _YELLOW)):
        share = np.clip((cover - np.float32(0.5)) * sharp + np.float32(0.5), 0, 1) * wear
        base += np.where(cover > 0.01, share, np.float32(0))[:, None] * (colour - base)
    return base


def _slabs(x: Floats, y: Floats, footprint: Floats) -> Floats:
    side = np.float32(0.6)
    i, j = np.floor(x / side), np.floor(y / side)
    tint = (jitter((i * 7919 + j).astype(np.int64)) - np.float32(0.5)) * _fade(0.5, footprint)
    edge = np.maximum(np.abs(x / side - i - np.float32(0.5)), np.abs(y / side - j - np.float32(0.5)))
    gap = np.clip((edge - np.float32(0.5)) * side / np.maximum(footprint, np.float32(0.006)) + np.float32(1.5), 0, 1)
    return _SLAB * _column((1 + np.float32(0.16) * tint) * (1 - np.float32(0.4) * gap * _fade(0.08, footprint)))


def _grass(fine: Floats, middle: Floats, wide: Floats) -> Floats:
    dry = np.clip(0.5 + 0.45 * wide + 0.15 * middle, 0, 1)
    bare = np.clip(-1.2 - wide - 0.5 * middle, 0, 1)
    colour = _GRASS[0] + _column(dry) * (_GRASS[1] - _GRASS[0])
    colour += _column(bare) * (_GRASS[2] - colour)
    return colour * _column(np.clip(1 + 0.22 * fine + 0.2 * middle, 0.25, None))


def _leaves(points: Floats, cell: float) -> Floats:
    """Grain in space, [n]: of two planes askew, since along one alone there would be streaks."""
    x, y, z = points.T
    first = grain(x + np.float32(0.71) * z, y - np.float32(0.53) * z, cell)
    return (first + grain(y + np.float32(0.83) * z, z - np.float32(0.67) * x, cell)) * np.float32(0.7)


def foliage(points: Floats, style: NDArray[np.uint16], footprint: Floats) -> Floats:
    """Leaves in clumps."""
    tones = PALETTES["foliage"]
    leaf = _leaves(points, 0.03) * _fade(0.06, footprint)
    clump = _leaves(points, 0.16) * _fade(0.3, footprint)
    return tones[style % len(tones)] * _column(np.clip(1 + 0.32 * leaf + 0.30 * clump, 0.16, 2.2))


def gaps(points: Floats, distance: Floats) -> NDArray[np.bool_]:
    """Where one sees through the outer leaves, [n]. From afar (m) the leaves close."""
    return _leaves(points, 0.055) > np.float32(0.45) + np.minimum(distance * np.float32(0.012), 1)


def panels(points: Floats, normal: Floats, shift: Floats, footprint: Floats) -> Floats:
    """How much darker concrete panels of 2 m are at their joints and stains, a factor [n, 1]."""
    along = points[:, 1] * normal[:, 0] - points[:, 0] * normal[:, 1] + shift
    panel = np.floor(along / 2)
    tint = jitter(panel.astype(np.int64)) - np.float32(0.5)
    edge = np.abs(along - 2 * panel - 1)
    joint = np.clip((edge - np.float32(0.975)) / np.maximum(footprint, np.float32(0.01)) + np.float32(0.5), 0, 1)
    rough = grain(along, points[:, 2], 0.03) * _fade(0.05, footprint)
    stains = noise(along, points[:, 2] * np.float32(0.25), 0.08)
    tone = 1 + np.float32(0.12) * tint + np.float32(0.07) * rough + np.float32(0.08) * stains
    return _column(tone * (1 - np.float32(0.5) * joint * _fade(0.1, footprint)))


class Facades(NamedTuple):
    """Of each style: colour of the wall, storey and bay (m), share of both that is window, whether bands of glass."""

    wall: Floats
    storey: Floats
    bay: Floats
    wide: Floats
    high: Floats


def _facades(count: int = 64) -> Facades:
    rng = np.random.default_rng(11)
    colours = PALETTES["facade"]
    curtain_wall = rng.random(count) < 0.25
    return Facades(
        colours[rng.integers(len(colours), size=count)] * rng.uniform(0.75, 1.1, (count, 1)).astype(np.float32),
        rng.uniform(3.0, 3.6, count).astype(np.float32),
        np.where(curtain_wall, rng.uniform(1.3, 1.9, count), rng.uniform(2.2, 4.2, count)).astype(np.float32),
        np.where(curtain_wall, 0.93, rng.uniform(0.38, 0.66, count)).astype(np.float32),
        np.where(curtain_wall, 0.84, rng.uniform(0.42, 0.6, count)).astype(np.float32),
    )


_FACADES = _facades()


class Wall(NamedTuple):
    """albedo [n, 3], and how much of each point is a window pane, [n]."""

    albedo: Floats
    pane: Floats


def facade(
    points: Floats, height: Floats, normal: Floats, style: NDArray[np.uint16], shift: Floats, footprint: Floats
) -> Wall:
    """Walls with windows. height: m above the ground, [n]. shift: m to add to the way along the wall, [n]."""
    look = Facades(*(field[style % len(_FACADES.wall)] for field in _FACADES))
    along = points[:, 1] * normal[:, 0] - points[:, 0] * normal[:, 1] + shift
    u, v = along / look.bay, height / look.storey
    column, floor = np.floor(u), np.floor(v)
    shop = (floor < 1) & (style % 3 == 0)
    wide, high = np.where(shop, np.float32(0.84), look.wide), np.where(shop, np.float32(0.72), look.high)
    middle = np.where(shop, np.float32(0.42), np.float32(0.56))
    du = (wide / 2 - np.abs(u - column - np.float32(0.5))) * look.bay
    dv = (high / 2 - np.abs(v - floor - middle)) * look.storey
    soft = np.maximum(footprint, np.float32(0.01))
    resolved = np.clip(look.bay / soft / 2 - np.float32(0.5), 0, 1)

    def inside(margin: float) -> Floats:
        m = np.float32(margin)
        sharp = np.clip((du - m) / soft + np.float32(0.5), 0, 1) * np.clip((dv - m) / soft + np.float32(0.5), 0, 1)
        return sharp * resolved + wide * high * (1 - resolved)

    frame, pane = inside(0.0), inside(0.07)
    key = (column * 131 + floor * 7919).astype(np.int64) + style.astype(np.int64) * 17
    random = jitter(key)
    rough = grain(along, height, 0.03) * _fade(0.05, footprint)
    stains = noise(along, height * np.float32(0.3), 0.25)
    wall = look.wall * _column(1 + np.float32(0.07) * rough + np.float32(0.06) * stains)
    sill = np.clip((np.float32(0.05) - np.abs(v - floor)) * look.storey / soft, 0, 1) * resolved
    wall *= _column(1 - np.float32(0.22) * sill)
    wall *= _column(np.where(height < 0.5, np.float32(0.7), np.float32(1)))
    wall += _column(frame) * (np.float32(0.10) + np.float32(0.35) * look.wall - wall)
    drawn = _column(np.where(random > 0.72, np.clip((v - floor - middle) * 4 + random, 0, 1), 0).astype(np.float32))
    glass = _GLASS * _column(np.float32(0.5) + random) + drawn * (_CURTAIN - _GLASS)
    wall += _column(pane) * (glass - wall)
    return Wall(wall, pane * (1 - drawn[:, 0] * np.float32(0.6)))
