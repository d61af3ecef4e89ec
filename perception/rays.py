"""Rays through the voxel grid, all at once: each step takes every ray to its next voxel (Amanatides & Woo 1987), and
those that are done drop out. numpy alone; perception.carving walks one ray after the other, compiled.

Origins and ends are in voxels from the lower corner of the grid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array
from perception.types import FREE, GRID, VoxelGrid


class Walk:
    """Rays on their way, m of them.

    rays: int64 [m], their rows in the arguments. flat: int64 [m], the voxels they are in. entered: float64 [m], where
    each entered it, as a share of the way from its origin to its end.
    """

    def __init__(self, origins: Array, ends: Array, shape: tuple[int, int, int]) -> None:
        """
        Args:
            origins: [3] or [n, 3]; ends: [n, 3]. Both may lie outside. Rays that miss the grid are left out.
        """
        sizes, origins = np.array(shape), np.broadcast_to(origins, ends.shape)
        direction = ends - origins
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = -origins / direction, (sizes - origins) / direction
        level, inside = direction == 0, (origins >= 0) & (origins < sizes)
        enter = np.where(level, np.where(inside, -np.inf, np.inf), np.minimum(low, high))
        leave = np.where(level, np.where(inside, np.inf, -np.inf), np.maximum(low, high))
        near, far = np.maximum(enter.max(1), 0.0), np.minimum(leave.min(1), 1.0)
        self.rays = np.flatnonzero(near <= far)
        origin, direction = origins[self.rays], direction[self.rays]
        # Borders are reached by adding up: without the margin, rounding could take a ray one voxel out of the grid.
        self.entered, self._far = near[self.rays], far[self.rays] - 1e-9
        voxel = np.floor(origin + self.entered[:, None] * direction).astype(np.int64)
        voxel = np.clip(voxel, 0, sizes - 1)
        step, strides = np.sign(direction).astype(np.int64), np.array([shape[1] * shape[2], shape[2], 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            border = np.where(step == 0, np.inf, (voxel + (step > 0) - origin) / direction)
            gap = np.where(step == 0, np.inf, np.abs(1.0 / direction))
        self.flat = voxel @ strides
        # By axis, so that each is one run of memory.
        self._border, self._gap, self._stride = border.T.copy(), gap.T.copy(), (step * strides).T.copy()

    def __len__(self) -> int:
        return len(self.rays)

    def advance(self, going: NDArray[np.bool_]) -> None:
        """To the next voxel, those of `going` [m] that have one before their end; the others drop out."""
        x, y, z = self._border
        following = np.minimum(np.minimum(x, y), z)
        kept = np.flatnonzero(going & (following < self._far))
        if len(kept) < len(self):
            self.rays, self.flat, self._far = self.rays[kept], self.flat[kept], self._far[kept]
            self._border, self._gap, self._stride = (a[:, kept] for a in (self._border, self._gap, self._stride))
            following = following[kept]
        x, y, z = self._border
        along_x = (x <= y) & (x <= z)
        along_y = ~along_x & (y <= z)
        for axis, along in enumerate((along_x, along_y, ~(along_x | along_y))):
            chosen = np.flatnonzero(along)
            self._border[axis, chosen] += self._gap[axis, chosen]
            self.flat[chosen] += self._stride[axis, chosen]
        self.entered = following


def carve_plain(origin: Array, ends: Array, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """The twin of perception.carving.carve: how many rays cross each voxel, flat [X * Y * Z]."""
    last = np.floor(ends).astype(np.int64)
    within = ((last >= 0) & (last < np.array(shape))).all(1)
    target = np.where(within, (last[:, 0] * shape[1] + last[:, 1]) * shape[2] + last[:, 2], -1)
    walk, crossed = Walk(origin, ends, shape), [np.zeros(0, np.int64)]
    while len(walk):
        going = walk.flat != target[walk.rays]
        crossed.append(walk.flat[going])
        walk.advance(going)
    return np.bincount(np.concatenate(crossed), minlength=int(np.prod(shape)))


class FirstSeen(NamedTuple):
    """kind: uint8 [n], the class that each ray meets first, FREE where it leaves the grid. distance: float64 [n] (m) to
    where it enters that voxel, or leaves the grid."""

    kind: NDArray[np.uint8]
    distance: Array


def first_seen(semantics: NDArray[np.uint8], origins: Array, directions: Array, grid: VoxelGrid = GRID) -> FirstSeen:
    """What rays see of labels [X, Y, Z].

    Args:
        origins: [3] or [n, 3] (m, ego frame). directions: unit, [n, 3].
    """
    reach = 2.0 * max(grid.shape)  # voxels: beyond the grid from anywhere in it
    start = np.broadcast_to((origins - np.array(grid.origin)) / grid.voxel_size, directions.shape)
    solid = semantics.reshape(-1)
    kind, way = np.full(len(directions), FREE, np.uint8), np.zeros(len(directions))
    walk = Walk(start, start + reach * directions, grid.shape)
    while len(walk):
        found = solid[walk.flat]
        kind[walk.rays], way[walk.rays] = found, walk.entered
        walk.advance(found == FREE)
    return FirstSeen(kind, way * reach * grid.voxel_size)
