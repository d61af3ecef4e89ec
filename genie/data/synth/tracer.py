"""Triangles and the rays that meet them: a mesh with what each face is, and Embree behind one function."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.materials import INDEX

Floats = NDArray[np.float32]
FAR = 1e4  # m, the range of a ray that meets nothing


class Mesh(NamedTuple):
    """vertices: float32 [v, 3] (m). faces: int32 [f, 3]. Per face: material uint8 (see `materials`), instance int32
    (-1: none), style uint16 (a seed for colour and pattern; equal over one object), shift float32 (m, where along a
    wall its pattern begins: see `textures.facade`), corner float32 [3, 3] (normals at the corners of what has an
    instance, any length)."""

    vertices: Floats
    faces: NDArray[np.int32]
    material: NDArray[np.uint8]
    instance: NDArray[np.int32]
    style: NDArray[np.uint16]
    shift: Floats
    corner: Floats


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh out of several."""
    if not meshes:
        return Mesh(
            np.zeros((0, 3), np.float32),
            np.zeros((0, 3), np.int32),
            np.zeros(0, np.uint8),
            np.zeros(0, np.int32),
            np.zeros(0, np.uint16),
            np.zeros(0, np.float32),
            np.zeros((0, 3, 3), np.float32),
        )
    first = np.cumsum([0, *(len(m.vertices) for m in meshes)])[:-1]
    faces = [m.faces + offset for m, offset in zip(meshes, first, strict=True)]
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate(faces).astype(np.int32),
        *(np.concatenate([getattr(m, field) for m in meshes]) for field in Mesh._fields[2:]),
    )


def surface(
    vertices: NDArray[np.float64],
    faces: NDArray[np.signedinteger[Any]],
    material: str,
    style: NDArray[np.int64] | int = 0,
) -> Mesh:
    """One material and style, no instance."""
    n = len(faces)
    return Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        np.full(n, INDEX[material], np.uint8),
        np.full(n, -1, np.int32),
        np.broadcast_to(np.asarray(style, np.uint16), n).copy(),
        np.zeros(n, np.float32),
        np.zeros((n, 3, 3), np.float32),
    )


def lattice(rows: int, columns: int) -> NDArray[np.int64]:
    """Two triangles per cell of a grid of vertices, [2 (rows-1) (columns-1), 3]."""
    i = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return np.concatenate([np.stack([i, i + columns, i + 1], 1), np.stack([i + 1, i + columns, i + columns + 1], 1)])


def face_normals(mesh: Mesh, faces: NDArray[np.signedinteger[Any]]) -> Floats:
    """Unit normals of some faces, [n, 3]."""
    a, b, c = (mesh.vertices[mesh.faces[faces, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.float32(1e-12))


class Hits(NamedTuple):
    """distance: float32 [n] (m, FAR: none). face: int32 [n], of the mesh that was traced, -1: none. u, v: float32 [n],
    where on the face: the weights of its second and third corner."""

    distance: Floats
    face: NDArray[np.int32]
    u: Floats
    v: Floats

    def take(self, rays: NDArray[np.signedinteger[Any]]) -> Hits:
        return Hits(self.distance[rays], self.face[rays], self.u[rays], self.v[rays])


@cache
def _device() -> Any:
    """Embree's own state, one per process: a new one for every scene costs more than a small scene."""
    from embreex.rtcore import EmbreeDevice

    return EmbreeDevice()


class Tracer:
    """A bounding volume hierarchy over one mesh. An empty mesh is met by no ray.

    lasting: it will be asked often, so the normals of all faces are kept.
    """

    def __init__(self, mesh: Mesh, *, lasting: bool = False) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.mesh = mesh
        self._flat = face_normals(mesh, np.arange(len(mesh.faces))) if lasting else None
        self._scene = EmbreeScene(_device()) if len(mesh.faces) else None
        if self._scene is not None:
            TriangleMesh(self._scene, np.ascontiguousarray(mesh.vertices), np.ascontiguousarray(mesh.faces))

    def nearest(self, origins: Floats, directions: Floats, within: Floats | None = None) -> Hits:
        """The first face that each ray meets; origins and unit directions [n, 3]; `within` [n] (m) bounds the range."""
        far = np.full(len(origins), FAR, np.float32) if within is None else within.astype(np.float32)
        if self._scene is None or not len(origins):
            nothing = np.zeros(len(origins), np.float32)
            return Hits(nothing + np.float32(FAR), np.full(len(origins), -1, np.int32), nothing, nothing)
        out = self._scene.run(origins, directions, far, query="INTERSECT", output=1)
        face = out["primID"]
        return Hits(np.where(face >= 0, out["tfar"], np.float32(FAR)), face, out["u"], out["v"])

    def normals(self, hits: Hits) -> Floats:
        """Unit normals [n, 3], to either side of the face; meaningless where nothing was met."""
        normal = face_normals(self.mesh, hits.face) if self._flat is None else self._flat[hits.face]
        smooth = np.flatnonzero((hits.face >= 0) & (self.mesh.instance[hits.face] >= 0))
        u, v = hits.u[smooth, None], hits.v[smooth, None]
        corner = self.mesh.corner[hits.face[smooth]]
        bent = (1 - u - v) * corner[:, 0] + u * corner[:, 1] + v * corner[:, 2]
        length = np.sqrt(np.einsum("ij,ij->i", bent, bent))[:, None]
        normal[smooth] = bent / np.maximum(length, np.float32(1e-9))
        return normal

    def blocked(self, origins: Floats, directions: Floats) -> NDArray[np.bool_]:
        """[n]: whether anything at all lies along each ray."""
        if self._scene is None or not len(origins):
            return np.zeros(len(origins), bool)
        result: NDArray[np.bool_] = self._scene.run(origins, directions, query="OCCLUDED") >= 0
        return result
