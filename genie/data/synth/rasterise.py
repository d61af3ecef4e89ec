"""Labels from the world: solid boxes over the background, in the ego frame, Occ3D layout.

A voxel belongs to a box if its centre is inside (each side at least one voxel); flat ground lies at z index 2, only
where no box voxel is. The derived labels of real nuScenes scenes follow the same rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.categories import CATEGORIES
from genie.data.synth.scenery import CELL, GROUND_Z, Scenery
from genie.data.synth.world import Boxes, EgoPose, World, in_ego
from perception.types import FREE, GRID

Array = NDArray[np.float64]
_CLASS_OF_KIND = np.array([c.occupancy_class for c in CATEGORIES], dtype=np.uint8)
_NX, _NY, _NZ = GRID.shape
_X, _Y, _Z = (o + (np.arange(n) + 0.5) * GRID.voxel_size for o, n in zip(GRID.origin, GRID.shape, strict=True))


def rasterise(world: World, t: float) -> NDArray[np.uint8]:
    """Semantics [200, 200, 16] at `t` seconds after the start of the scene."""
    ego, boxes = world.ego(t), world.boxes(t)
    semantics = background(world.scenery, ego)
    put_boxes(semantics, boxes, ego)
    return semantics


def background(scenery: Scenery, ego: EgoPose) -> NDArray[np.uint8]:
    """Ground and what stands on it, [200, 200, 16]; free outside the rasters."""
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    x = ego.xyz[0] + cos * _X[:, None] - sin * _Y[None]
    y = ego.xyz[1] + sin * _X[:, None] + cos * _Y[None]
    nx, ny = scenery.ground.shape
    i, j = np.floor(x / CELL).astype(np.int32), np.floor(y / CELL).astype(np.int32)
    inside = (i >= 0) & (i < nx) & (j >= 0) & (j < ny)
    flat = np.where(inside, i * ny + j, 0)
    column = np.where(inside, scenery.column.ravel()[flat], 0)
    ground = np.where(inside, scenery.ground.ravel()[flat], FREE)
    semantics = scenery.palette[column]
    layer = semantics[:, :, GROUND_Z]
    layer[layer == FREE] = ground[layer == FREE]
    return semantics


def put_boxes(semantics: NDArray[np.uint8], boxes: Boxes, ego: EgoPose) -> None:
    """Writes the boxes [n] into `semantics` in place, large ones first: a cone in front of a lorry stays a cone."""
    centre = in_ego(boxes, ego)
    size = np.maximum(boxes.size, GRID.voxel_size)
    reach = np.hypot(size[:, 0], size[:, 1]) / 2
    near = (np.abs(centre[:, :2]) < -np.array(GRID.origin[:2]) + reach[:, None]).all(1)
    volume = size.prod(1)
    for b in sorted(np.flatnonzero(near), key=lambda b: (-volume[b], b)):
        put_box(semantics, centre[b], size[b], boxes.yaw[b] - ego.yaw, int(_CLASS_OF_KIND[boxes.kind[b]]))


def put_box(semantics: NDArray[np.uint8], centre: Array, size: Array, yaw: float, value: int) -> None:
    """One box with centre [3] and size w, l, h [3] (m), in the ego frame, in place."""
    x, y, z = centre
    cos, sin = np.cos(yaw), np.sin(yaw)
    half_w, half_l, half_h = size / 2
    reach_x = abs(cos) * half_l + abs(sin) * half_w
    reach_y = abs(sin) * half_l + abs(cos) * half_w
    i0, i1 = np.searchsorted(_X, [x - reach_x, x + reach_x])
    j0, j1 = np.searchsorted(_Y, [y - reach_y, y + reach_y])
    k0, k1 = np.searchsorted(_Z, [z - half_h, z + half_h])
    dx, dy = _X[i0:i1, None] - x, _Y[None, j0:j1] - y
    inside = (np.abs(cos * dx + sin * dy) <= half_l) & (np.abs(cos * dy - sin * dx) <= half_w)
    semantics[i0:i1, j0:j1, k0:k1][inside] = value
