"""Movable things as rigid objects: connected cells of one class, seen from above. numpy and OpenCV only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.types import GRID, MOVABLE

MAX_OBJECTS = 128  # K: rows of every per-object array that a network sees

_MOVABLE_RANK = np.zeros(256, np.uint8)
_MOVABLE_RANK[list(MOVABLE)] = np.arange(1, len(MOVABLE) + 1)


@dataclass(frozen=True)
class Components:
    """Connected movable cells of one class.

    object_id: int32 [200, 200], 0 where there is none, else 1 + the row in the arrays below.
    kind:      uint8 [200, 200], 0 where nothing is movable, else 1 + the rank of its class in MOVABLE.
    class_id:  int64 [n].
    cells:     int64 [n], cells covered.
    center:    float64 [n, 2], centroid in the ego frame (m).
    axes:      float64 [n, 4], half length and half width (m), and cos, sin of the long axis, from second moments.
    at_border: bool [n], touches the edge of the grid, so that its centroid is not the object's.
    """

    object_id: NDArray[np.int32]
    kind: NDArray[np.uint8]
    class_id: NDArray[np.int64]
    cells: NDArray[np.int64]
    center: NDArray[np.float64]
    axes: NDArray[np.float64]
    at_border: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.class_id)


def highest(table: NDArray[np.uint8], semantics: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The highest value in each column of what a table [256] gives its voxels [..., 16]: `table[semantics].max(-1)`,
    where nearly all are 0, as most columns hold nothing that is asked for."""
    value = cv2.LUT(semantics.reshape(-1, semantics.shape[-1]), table)
    words = value.view(np.uint64)
    some = np.flatnonzero(np.bitwise_or(*words.T))
    out = np.zeros(len(value), np.uint8)
    out[some] = value[some].max(axis=1)
    return out.reshape(semantics.shape[:-1])


def find_components(semantics: NDArray[np.uint8], max_objects: int = MAX_OBJECTS) -> Components:
    """Components of each movable class in semantics [200, 200, 16]; the `max_objects` largest are kept."""
    rank = highest(_MOVABLE_RANK, semantics)
    labels = np.zeros(rank.shape, np.int32)
    class_ids: list[int] = []
    present = np.bincount(rank.ravel(), minlength=len(MOVABLE) + 1)
    for index, class_id in enumerate(MOVABLE):
        if not present[index + 1]:
            continue
        mask = rank == index + 1
        # Four neighbours: parked cars that touch at a corner stay two objects.
        found, part = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        labels[mask] = part[mask] + len(class_ids)
        class_ids += [class_id] * (found - 1)
    cells = np.bincount(labels.ravel(), minlength=len(class_ids) + 1)[1:]
    keep = np.sort(np.argsort(-cells, kind="stable")[:max_objects])
    renumber = np.zeros(len(class_ids) + 1, np.int32)
    renumber[keep + 1] = np.arange(1, len(keep) + 1)
    object_id = renumber[labels]
    center, axes = _moments(object_id, len(keep))
    at_border = np.zeros(len(keep) + 1, bool)
    for edge in (object_id[0], object_id[-1], object_id[:, 0], object_id[:, -1]):
        at_border[edge] = True
    return Components(object_id, rank, np.asarray(class_ids, np.int64)[keep], cells[keep], center, axes, at_border[1:])


def _moments(object_id: NDArray[np.int32], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ix, iy = np.nonzero(object_id)
    who = object_id[ix, iy] - 1
    x = GRID.origin[0] + (ix + 0.5) * GRID.voxel_size
    y = GRID.origin[1] + (iy + 0.5) * GRID.voxel_size
    n = np.maximum(np.bincount(who, minlength=count), 1)
    cx, cy = np.bincount(who, x, count) / n, np.bincount(who, y, count) / n
    dx, dy = x - cx[who], y - cy[who]
    cell = GRID.voxel_size**2 / 12  # the second moment of one cell about its centre
    xx, yy = np.bincount(who, dx * dx, count) / n + cell, np.bincount(who, dy * dy, count) / n + cell
    xy = np.bincount(who, dx * dy, count) / n
    mean, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    half = np.sqrt(3 * np.stack([mean + radius, np.maximum(mean - radius, cell)], -1))  # of a uniform rectangle
    return np.stack([cx, cy], -1), np.concatenate([half, np.cos(angle)[:, None], np.sin(angle)[:, None]], -1)


def nearest_uncovered(object_id: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each cell the flat index of the nearest cell that no object covers, int32 [200, 200].

    What lies under an object that drives away is taken from there.
    """
    covered = object_id > 0
    if covered.all():
        return np.arange(covered.size, dtype=np.int32).reshape(covered.shape)
    _, label = cv2.distanceTransformWithLabels(covered.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    index_of_label = np.zeros(label.max() + 1, np.int32)
    free = np.flatnonzero(~covered.ravel())
    index_of_label[label.ravel()[free]] = free
    return index_of_label[label]
