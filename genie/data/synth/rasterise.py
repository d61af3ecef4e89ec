"""Labels from the world: solid boxes over the background, in the ego frame, Occ3D layout.

A voxel belongs to a box if its centre is inside (each side at least one voxel); where no box voxel is, there is the
ground. Two styles:

occ3d  all that stands, and the ground of every kind.
mini   boxes and the drivable surface alone: the rule by which streams are derived from real annotations and map masks.

Keyframe labels lie where things are: in the ego frame of the recorded pose, its tilt included, the ground and all on
it at the height that the slopes give them. (A tilt of a degree or two is a shear: columns stay columns, each is raised
by what the tilt makes of it.) Streams, whose poses are planar, are levelled: the ground at z index 2, as the derived
streams of real scenes have it, and boxes at the height that they are annotated at.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array
from genie.data.synth.categories import CATEGORIES
from genie.data.synth.scenery import CELL, GROUND_Z, ROAD, Scenery
from genie.data.synth.world import Boxes, EgoPose, World, in_ego
from perception.types import FREE, GRID

LabelStyle = Literal["occ3d", "mini"]
LEVEL = np.zeros(2)  # no lean
_CLASS_OF_KIND = np.array([c.occupancy_class for c in CATEGORIES], dtype=np.uint8)
_NX, _NY, _NZ = GRID.shape
_X, _Y, _Z = (o + (np.arange(n) + 0.5) * GRID.voxel_size for o, n in zip(GRID.origin, GRID.shape, strict=True))


def rasterise(world: World, t: float, style: LabelStyle = "occ3d", *, levelled: bool = False) -> NDArray[np.uint8]:
    """Semantics [200, 200, 16] at `t` seconds after the start of the scene."""
    lean = LEVEL if levelled else lean_of(world.ego(t))
    semantics = road_alone(world, t) if style == "mini" else background(world, t, lean, levelled=levelled)
    put_boxes(semantics, world.boxes(t), world.ego(t), lean)
    return semantics


def lean_of(ego: EgoPose) -> Array:
    """By how much the tilted frame sees a level place higher for each metre forward and left, [2]."""
    return np.array([np.sin(ego.pitch) * np.cos(ego.roll), -np.sin(ego.roll)])


def cells(ego: EgoPose) -> Array:
    """Where the centres of the voxel columns are in the world, [200, 200, 2] (m)."""
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    x = ego.xyz[0] + cos * _X[:, None] - sin * _Y[None]
    y = ego.xyz[1] + sin * _X[:, None] + cos * _Y[None]
    return np.stack([x, y], axis=-1)


def road_alone(world: World, t: float) -> NDArray[np.uint8]:
    """The drivable surface, level, [200, 200, 16]."""
    inside, flat = _look_up(world.scenery, cells(world.ego(t)))
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[:, :, GROUND_Z][inside & (world.scenery.ground.ravel()[flat] == ROAD)] = ROAD
    return semantics


def background(world: World, t: float, lean: Array = LEVEL, *, levelled: bool = False) -> NDArray[np.uint8]:
    """Ground and what stands on it, raised as elevation and lean say; [200, 200, 16], free outside the rasters."""
    scenery, points = world.scenery, cells(world.ego(t))
    rise = lean[0] * _X[:, None] + lean[1] * _Y
    if not levelled:
        rise = rise + world.elevation.at(points) - world.datum(t)
    lift = np.round(rise / GRID.voxel_size).astype(np.int32)
    inside, flat = _look_up(scenery, points)
    column = np.where(inside, scenery.column.ravel()[flat], 0)
    ground = np.where(inside, scenery.ground.ravel()[flat], FREE)
    semantics = np.empty(GRID.shape, np.uint8)
    for voxels in np.unique(lift):
        at = lift == voxels
        semantics[at] = _raised(scenery.palette, voxels)[column[at]]
    i, j = np.nonzero((lift >= -GROUND_Z) & (lift < _NZ - GROUND_Z))
    k = GROUND_Z + lift[i, j]
    semantics[i, j, k] = np.where(semantics[i, j, k] == FREE, ground[i, j], semantics[i, j, k])
    return semantics


def _look_up(scenery: Scenery, points: Array) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Whether each point lies on the rasters, and its index in them flattened (0 where it does not)."""
    nx, ny = scenery.ground.shape
    i, j = (np.floor(points[..., axis] / CELL).astype(np.int32) for axis in (0, 1))
    inside = (i >= 0) & (i < nx) & (j >= 0) & (j < ny)
    return inside, np.where(inside, i * ny + j, 0)


def _raised(palette: NDArray[np.uint8], voxels: int) -> NDArray[np.uint8]:
    out = np.full_like(palette, FREE)
    low, high = max(voxels, 0), min(_NZ + voxels, _NZ)
    if low < high:
        out[:, low:high] = palette[:, low - voxels : high - voxels]
    return out


def put_boxes(semantics: NDArray[np.uint8], boxes: Boxes, ego: EgoPose, lean: Array = LEVEL) -> None:
    """Writes the boxes [n] into `semantics` in place, large ones first: a cone in front of a lorry stays a cone."""
    centre = in_ego(boxes, ego)
    centre[:, 2] += centre[:, :2] @ lean
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
