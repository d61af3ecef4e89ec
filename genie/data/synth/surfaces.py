"""What rays see: the static scene of a world, met by rays together with what moves, and what was met there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.categories import CATEGORIES
from genie.data.synth.geometry import static_mesh
from genie.data.synth.materials import INDEX, LABEL, REFLECTANCE
from genie.data.synth.paint import GroundMap
from genie.data.synth.sampling import bilinear
from genie.data.synth.scenery import CELL
from genie.data.synth.sensors import LIDARSEG
from genie.data.synth.textures import gaps
from genie.data.synth.tracer import FAR, Floats, Tracer
from genie.data.synth.world import World
from perception.types import CLASS_NAMES, FREE

# Per class of the ground, and for what lies beyond the town or under a building (FREE): label and reflectance.
_GROUND = {
    "driveable_surface": ("flat.driveable_surface", 0.12),
    "other_flat": ("flat.other", 0.22),
    "sidewalk": ("flat.sidewalk", 0.25),
    "terrain": ("flat.terrain", 0.35),
    "free": ("flat.terrain", 0.35),
}
_GROUND_LABEL = np.zeros(len(CLASS_NAMES), np.uint8)
_GROUND_REFLECTANCE = np.zeros(len(CLASS_NAMES), np.float32)
for _name, (_label, _value) in _GROUND.items():
    _GROUND_LABEL[CLASS_NAMES.index(_name)] = LIDARSEG.index(_label)
    _GROUND_REFLECTANCE[CLASS_NAMES.index(_name)] = _value
_KIND_LABEL = np.array([LIDARSEG.index(c.name) for c in CATEGORIES], np.uint8)
_PAINT_REFLECTANCE = 0.6
HEIGHT_STEP = 4.0  # m
LEAF_LAYERS = 3  # through which a ray may pass
LEAF_SIZE = 0.05  # m


class Seen(NamedTuple):
    """What n rays met first. distance: m, FAR: nothing. normal: unit, towards either side. material: of MATERIALS.
    instance: -1 none. style, shift: as in Mesh."""

    distance: Floats
    normal: Floats
    material: NDArray[np.uint8]
    instance: NDArray[np.int32]
    style: NDArray[np.uint16]
    shift: Floats


class Surfaces:
    """The static scene of one world: built once, then only read."""

    def __init__(self, world: World) -> None:
        self.static = Tracer(static_mesh(world), lasting=True)
        self.ground = GroundMap(world.scenery)
        self._classes = world.scenery.ground
        self._kind = world.kind
        nodes = np.stack(np.meshgrid(*(np.arange(0, n * CELL + HEIGHT_STEP, HEIGHT_STEP) for n in self._classes.shape),
                                     indexing="ij"), -1)  # fmt: skip
        self._elevation = world.elevation.at(nodes).astype(np.float32)

    def see(self, origins: Floats, directions: Floats, moving: Tracer) -> Seen:
        """Origins and unit directions [n, 3], in physical coordinates. Rays go on through gaps between leaves."""
        seen = self._first(origins, directions, moving)
        for _ in range(LEAF_LAYERS):
            leafy = np.flatnonzero((seen.material == INDEX["foliage"]) & (seen.distance < FAR))
            leafy = leafy[gaps(origins[leafy] + directions[leafy] * seen.distance[leafy, None], seen.distance[leafy])]
            if not len(leafy):
                break
            so_far = seen.distance[leafy] + np.float32(LEAF_SIZE)
            behind = self._first(origins[leafy] + directions[leafy] * so_far[:, None], directions[leafy], moving)
            seen.distance[leafy] = np.where(behind.distance < FAR, behind.distance + so_far, FAR)
            for field in Seen._fields[1:]:
                getattr(seen, field)[leafy] = getattr(behind, field)
        return seen

    def _first(self, origins: Floats, directions: Floats, moving: Tracer) -> Seen:
        hits = self.static.nearest(origins, directions)
        mesh, face = self.static.mesh, hits.face
        seen = Seen(
            hits.distance,
            self.static.normals(hits),
            mesh.material[face],
            np.where(face >= 0, mesh.instance[face], -1),
            mesh.style[face],
            mesh.shift[face],
        )
        nearer = moving.nearest(origins, directions, hits.distance)
        rays = np.flatnonzero(nearer.face >= 0)
        nearer = nearer.take(rays)
        seen.distance[rays] = nearer.distance
        seen.normal[rays] = moving.normals(nearer)
        for field in ("material", "instance", "style", "shift"):
            getattr(seen, field)[rays] = getattr(moving.mesh, field)[nearer.face]
        return seen

    def ground_class(self, xy: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The class of the ground at points [n, 2] (m); FREE beyond the town."""
        i, j = np.floor(xy[:, 0] / CELL).astype(np.int32), np.floor(xy[:, 1] / CELL).astype(np.int32)
        nx, ny = self._classes.shape
        inside = (i >= 0) & (i < nx) & (j >= 0) & (j < ny)
        return np.where(inside, self._classes[np.where(inside, i, 0), np.where(inside, j, 0)], FREE).astype(np.uint8)

    def height(self, points: Floats) -> Floats:
        """m above the ground of points [n, 3]."""
        x, y = (points[:, :2].T / HEIGHT_STEP).astype(np.float32)
        return points[:, 2] - bilinear(self._elevation, x, y)

    def echo(self, seen: Seen, points: NDArray[np.float64]) -> tuple[NDArray[np.uint8], Floats]:
        """Label (index into LIDARSEG) and reflectance of what was met at points [n, 3]."""
        label, reflectance = LABEL[seen.material], REFLECTANCE[seen.material]
        ground = np.flatnonzero((seen.material == INDEX["ground"]) & (seen.distance < FAR))
        xy = points[ground, :2]
        kind = self.ground_class(xy)
        label[ground] = _GROUND_LABEL[kind]
        painted = np.minimum(self.ground.white(xy) + self.ground.yellow(xy), 1)
        reflectance[ground] = _GROUND_REFLECTANCE[kind] * (1 - painted) + _PAINT_REFLECTANCE * painted
        owned = seen.instance >= 0
        label[owned] = _KIND_LABEL[self._kind[seen.instance[owned]]]
        return label, reflectance
