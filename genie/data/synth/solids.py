"""Shapes to assemble bodies from: patches, boxes, prisms and balls, each face with a material.

Bodies are drawn in a box of a nominal size: x ahead, y left, both from the middle, z from the bottom (m); a template
keeps them scaled to the unit box, so that a body fills whatever box it is put into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.materials import INDEX

Array = NDArray[np.float64]
CREASE = np.radians(62.0)  # sharper edges stay edges
Cells = tuple[Sequence[Sequence[str]], Sequence[float], Sequence[float]]  # of a patch: materials, us, vs
Sides = Mapping[str, "Cells | str"]


def _octagon(rectangle: tuple[float, float, float, float], z: float, cut: float) -> Array:
    """A rectangle x0, x1, y0, y1 at height z with its corners cut, [8, 3], anticlockwise from its right side's back."""
    x0, x1, y0, y1 = rectangle
    c = cut
    xy = [
        (x0 + c, y0),
        (x1 - c, y0),
        (x1, y0 + c),
        (x1, y1 - c),
        (x1 - c, y1),
        (x0 + c, y1),
        (x0, y1 - c),
        (x0, y0 + c),
    ]
    return np.array([(x, y, z) for x, y in xy])


class Template(NamedTuple):
    """A body in the unit box: vertices float32 [v, 3], x and y in -0.5..0.5, z in 0..1; faces [f, 3]; material [f].

    corner: float32 [f, 3, 3], normals at the corners of each face, smooth over what is not an edge, any length.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    material: NDArray[np.uint8]
    corner: NDArray[np.float32]


def smooth_normals(vertices: Array, faces: NDArray[np.int64]) -> Array:
    """Unit normals at the corners of faces, [f, 3, 3]: of all faces that meet there at less than CREASE. They point
    to the side that the face's own order of corners gives."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)
    flat = area / np.maximum(np.linalg.norm(area, axis=1, keepdims=True), 1e-12)
    place = np.unique(np.round(vertices, 4), axis=0, return_inverse=True)[1].reshape(-1)[faces].ravel()
    order = np.argsort(place, kind="stable")
    out = np.zeros((len(faces) * 3, 3))
    for here in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        face = here // 3
        cosine = flat[face] @ flat[face].T
        # Neighbours may be the other way round.
        out[here] = (np.sign(cosine) * (np.abs(cosine) > np.cos(CREASE))) @ area[face]
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 1e-12, out / np.maximum(length, 1e-12), flat.repeat(3, 0)).reshape(-1, 3, 3)


class Body:
    """Collects faces. Which way round they are does not matter: they are shaded from the side that is seen."""

    def __init__(self) -> None:
        self._vertices: list[Array] = []
        self._faces: list[NDArray[np.int64]] = []
        self._materials: list[str] = []
        self._count = 0

    def add(self, vertices: Array, faces: NDArray[np.int64], materials: Sequence[str]) -> None:
        self._vertices.append(vertices)
        self._faces.append(faces + self._count)
        self._materials.extend(materials)
        self._count += len(vertices)

    def patch(
        self, corners: Sequence[Sequence[float]], materials: Sequence[Sequence[str]], us: Sequence[float] = (),
        vs: Sequence[float] = (),
    ) -> None:  # fmt: skip
        """A quadrilateral a, b, c, d cut into cells: u from a to b, v from a to d. materials: rows along v, of cells
        along u; `us`, `vs`: where the cuts are (0..1), evenly where not given."""
        a, b, c, d = (np.asarray(p, dtype=np.float64) for p in corners)
        rows, columns = len(materials), len(materials[0])
        u = np.array([0.0, *us, 1.0]) if us else np.linspace(0, 1, columns + 1)
        v = (np.array([0.0, *vs, 1.0]) if vs else np.linspace(0, 1, rows + 1))[:, None, None]
        u = u[None, :, None]
        grid = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c)
        i = np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)
        quads = np.stack([i, i + 1, i + columns + 2, i + columns + 1], -1).reshape(-1, 4)
        names = [name for row in materials for name in row]
        self.add(grid.reshape(-1, 3), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), names * 2)

    def tapered(
        self, bottom: tuple[float, float, float, float], top: tuple[float, float, float, float], z: tuple[float, float],
        sides: Sides, rest: str,
        chamfer: float = 0.0,
    ) -> None:  # fmt: skip
        """A box between two rectangles x0, x1, y0, y1, its upright edges cut by `chamfer` (m). sides: what differs from
        `rest` among front, back, left, right, top, bottom: a material, or the cells and cuts of a patch (u from the
        back or from the right, v upwards)."""
        low, high = (_octagon(rectangle, height, chamfer) for rectangle, height in zip((bottom, top), z, strict=True))
        # The octagon runs from the right side's back end anticlockwise: right, corner, front, corner, left, ...
        faces = {"right": (0, 1), "front": (2, 3), "left": (5, 4), "back": (7, 6)}
        for name, (i, j) in faces.items():
            what = sides.get(name, rest)
            cells: Cells = ([[what]], (), ()) if isinstance(what, str) else what
            self.patch((low[i], low[j], high[j], high[i]), *cells)
        if chamfer:
            for i, j in ((1, 2), (3, 4), (5, 6), (7, 0)):
                self.patch((low[i], low[j], high[j], high[i]), [[rest]])
        for name, ring in (("top", high), ("bottom", low)):
            fan = np.array([[0, i, i + 1] for i in range(1, 7)])
            self.add(ring, fan, [str(sides.get(name, rest))] * len(fan))

    def box(self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], material: str) -> None:
        self.tapered((*x, *y), (*x, *y), z, {}, material)

    def tube(
        self, start: Sequence[float], end: Sequence[float], radii: tuple[float, float], material: str, sides: int = 8,
        *, closed: bool = False,
    ) -> None:  # fmt: skip
        """A round bar between two points, of two radii, its far end closed where that is seen."""
        a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        axis = (b - a) / np.linalg.norm(b - a)
        helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 0, 1.0])
        e1 = np.cross(axis, helper)
        e1 /= np.linalg.norm(e1)
        angle = (np.arange(sides) + 0.5) * 2 * np.pi / sides
        ring = np.cos(angle)[:, None] * e1 + np.sin(angle)[:, None] * np.cross(axis, e1)
        reach = 1 / np.cos(np.pi / sides)  # the flats lie at the radius, so that a wheel stands on the ground
        vertices = np.concatenate([a + radii[0] * reach * ring, b + radii[1] * reach * ring, b[None]])
        i, j = np.arange(sides), (np.arange(sides) + 1) % sides
        faces = [np.stack([i, j, j + sides], 1), np.stack([i, j + sides, i + sides], 1)]
        if closed:
            faces.append(np.stack([i + sides, j + sides, np.full(sides, 2 * sides)], 1))
        self.add(vertices, np.concatenate(faces), [material] * (len(faces) * sides))

    def wheel(self, x: float, y: float, radius: float, width: float) -> None:
        """A wheel that stands on the ground, its outer side at `y`."""
        inner = y - np.sign(y) * width
        self.tube((x, inner, radius), (x, y, radius), (radius, radius), "tyre", 12, closed=True)
        hub = y + np.sign(y) * 0.004
        self.tube((x, y, radius), (x, hub, radius), (0.62 * radius, 0.55 * radius), "rim", 8, closed=True)

    def ball(
        self, centre: Sequence[float], radii: Sequence[float], material: str, rows: int = 4, sides: int = 8
    ) -> None:
        latitude = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)[:, None]
        longitude = np.arange(sides) * 2 * np.pi / sides
        unit = np.stack(
            [
                np.cos(latitude) * np.cos(longitude),
                np.cos(latitude) * np.sin(longitude),
                np.sin(latitude) + 0 * longitude,
            ],
            -1,
        )
        i = np.arange(rows)[:, None] * sides + np.arange(sides)
        j = np.arange(rows)[:, None] * sides + (np.arange(sides) + 1) % sides
        faces = np.concatenate(
            [np.stack([i, j, j + sides], -1).reshape(-1, 3), np.stack([i, j + sides, i + sides], -1).reshape(-1, 3)]
        )
        self.add(unit.reshape(-1, 3) * np.asarray(radii) + np.asarray(centre), faces, [material] * len(faces))

    def template(self, box: tuple[float, float] | None = None) -> Template:
        """The body, stretched to fill the unit box; with `box` (length, width in m) upwards only: a person who stands
        is slimmer than the box of one who walks."""
        vertices = np.concatenate(self._vertices)
        low, high = vertices.min(0), vertices.max(0)
        if box is not None:
            low[:2], high[:2] = -np.array(box) / 2, np.array(box) / 2
        unit = (vertices - low) / (high - low) - [0.5, 0.5, 0.0]
        faces = np.concatenate(self._faces)
        material = np.array([INDEX[name] for name in self._materials], np.uint8)
        corner = smooth_normals(vertices, faces) * (high - low)  # normals scale inversely
        return Template(unit.astype(np.float32), faces.astype(np.int32), material, corner.astype(np.float32))
