"""Static evidence fused over the past: finer than one observation can tell.

A voxel grid that rides with the ego samples the same wall at other places each frame. A canvas of half the cell size,
fixed to the world, keeps for each of its cells the column of 16 voxels that was observed nearest to the cell's centre.
Nothing is ever resampled: a kept column is an original observation. Each frame checks what is kept against what it
sees: a column with a voxel of a class that none of the four observed cells around has (the half-voxel bracket) is
dropped, so a scene that changes is believed at once. numpy only.

Shapes: 40000 = 200 x 200 observed cells, x major; F = 576 canvas cells a side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import planar
from perception.types import FREE, GRID, MOVABLE

FINE_M = GRID.voxel_size / 2
FINE_SIDE = 576  # 115.2 m: holds the 80 m grid at any heading
MAX_KEPT = 8192  # columns that differ from the present observation; real motion has 1000 to 3000
FADE_MPS = 0.03  # an observation one second older counts as 3 cm farther
CELLS = GRID.shape[0] * GRID.shape[1]
NOTHING_KEPT = 0
_MOVABLE = np.isin(np.arange(FREE + 1), MOVABLE)


class Evidence(NamedTuple):
    """The canvas.

    columns:  uint8 [F, F, 16].
    distance: float32 [F, F], from the cell's centre to where the kept column was observed (m, planar), with the fading
        of its age; infinite where nothing is kept.
    corner:   int64 [2], canvas cell (0, 0) counted in cells from the world's origin.
    """

    columns: NDArray[np.uint8]
    distance: NDArray[np.float32]
    corner: NDArray[np.int64]


class FusedEvidence(NamedTuple):
    """What a forecast looks static voxels up in.

    row:      int32 [F, F], per canvas cell: 1 + a present cell (below 40000), 1 + 40000 + a row of `columns`, or
        NOTHING_KEPT where the present observation is the best there is.
    columns:  uint8 [MAX_KEPT, 16].
    fine_from_ego: float32 [3], x, y (m), yaw (rad): the canvas frame, with its origin at the corner of cell (0, 0).
    """

    row: NDArray[np.int32]
    columns: NDArray[np.uint8]
    fine_from_ego: NDArray[np.float32]


def _no_evidence() -> FusedEvidence:
    row = np.full((FINE_SIDE, FINE_SIDE), NOTHING_KEPT, np.int32)
    columns = np.full((MAX_KEPT, GRID.shape[2]), FREE, np.uint8)
    row.flags.writeable = columns.flags.writeable = False
    return FusedEvidence(row, columns, np.zeros(3, np.float32))


NO_EVIDENCE = _no_evidence()  # every voxel is looked up in the present observation alone


class _Footprint(NamedTuple):
    """Canvas cells [n] whose centres lie in the observation: their flat index `canvas`, the observed cell (i, j) there,
    and the offset of the centre from that cell's centre (m)."""

    canvas: NDArray[np.intp]
    i: NDArray[np.int32]
    j: NDArray[np.int32]
    dx: NDArray[np.float32]
    dy: NDArray[np.float32]


def start_evidence() -> Evidence:
    """Nothing seen yet."""
    side = (FINE_SIDE, FINE_SIDE)
    return Evidence(
        np.zeros((*side, GRID.shape[2]), np.uint8), np.full(side, np.inf, np.float32), np.zeros(2, np.int64)
    )


def fuse(
    evidence: Evidence,
    semantics: NDArray[np.uint8],
    world_from_ego: NDArray[np.float64],
    dt_s: float,
    trail: NDArray[np.bool_] | None = None,
) -> tuple[FusedEvidence, Evidence]:
    """Takes one observation in.

    Args:
        semantics: uint8 [200, 200, 16] in the ego frame.
        trail: bool [200, 200], cells beside something that moves: what is kept there and can move is where it was, and
            is not looked up.
        world_from_ego: float64 [4, 4]; its height, roll and pitch are not used: a column stays a column.
        dt_s: time since the observation before.
    """
    pose = planar(world_from_ego)
    kept = _recentre(evidence, np.floor(pose[:2] / FINE_M).astype(np.int64) - FINE_SIDE // 2, FADE_MPS * dt_s)
    corner_m = kept.corner * FINE_M
    at = _footprint(pose - np.append(corner_m, 0.0))
    observed = semantics.reshape(CELLS, GRID.shape[2])
    cell = at.i * GRID.shape[1] + at.j
    present, past = _items(observed).take(cell), _items(kept.columns).take(at.canvas)
    here = np.hypot(at.dx, at.dy)
    there = kept.distance.ravel().take(at.canvas)
    differs = np.flatnonzero(_differ(present, past) & (there < here))
    kept_column = kept.columns.reshape(-1, GRID.shape[2])[at.canvas[differs]]
    contradicted = ~_in_bracket(observed, kept_column, at, differs)
    there[differs[contradicted]] = np.inf
    better = here <= there
    _items(kept.columns)[at.canvas] = np.where(better, present, past)
    kept.distance.ravel()[at.canvas] = np.where(better, here, there)
    row = np.full(FINE_SIDE * FINE_SIDE, NOTHING_KEPT, np.int32)
    row[at.canvas] = np.where(better, NOTHING_KEPT, 1 + cell)
    unlike = at.canvas[differs[~contradicted]]
    columns = np.full((MAX_KEPT, GRID.shape[2]), FREE, np.uint8)
    columns[: len(unlike)] = kept.columns.reshape(-1, GRID.shape[2])[unlike[:MAX_KEPT]]
    row[unlike] = NOTHING_KEPT
    row[unlike[:MAX_KEPT]] = 1 + CELLS + np.arange(min(len(unlike), MAX_KEPT), dtype=np.int32)
    if trail is not None:
        beside = trail.ravel().take(cell)
        shown = row[at.canvas]
        can_move = _MOVABLE[np.concatenate([observed[cell[beside]], columns])].any(axis=1)  # few cells, few columns
        near = can_move[: np.count_nonzero(beside)]
        kept_row = np.clip(shown[beside] - 1 - CELLS, 0, MAX_KEPT - 1)
        ghost = np.where(shown[beside] > CELLS, can_move[len(near) :][kept_row], near)
        row[at.canvas[beside][ghost]] = NOTHING_KEPT
    fine_from_ego = np.append(pose[:2] - corner_m, pose[2]).astype(np.float32)
    return FusedEvidence(row.reshape(FINE_SIDE, FINE_SIDE), columns, fine_from_ego), kept


def _items(columns: NDArray[np.uint8]) -> NDArray[np.complex128]:
    """The same memory, one 16-byte item a column, so that a column is moved at once; never computed with."""
    return np.ascontiguousarray(columns).reshape(-1).view(np.complex128)


def _differ(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> NDArray[np.bool_]:
    """By their bytes."""
    unequal = a.view(np.uint64) != b.view(np.uint64)
    return unequal[::2] | unequal[1::2]


def _recentre(evidence: Evidence, corner: NDArray[np.int64], fade_m: float) -> Evidence:
    """A copy with another corner, faded: whole cells move, what leaves the canvas is forgotten."""
    out = start_evidence()
    shift = corner - evidence.corner
    if np.abs(shift).max() < FINE_SIDE:
        to = tuple(slice(max(-s, 0), FINE_SIDE - max(s, 0)) for s in shift)
        source = tuple(slice(max(s, 0), FINE_SIDE - max(-s, 0)) for s in shift)
        out.columns[to] = evidence.columns[source]
        out.distance[to] = evidence.distance[source] + np.float32(fade_m)
    return Evidence(out.columns, out.distance, corner)


def _footprint(fine_from_ego: NDArray[np.float64]) -> _Footprint:
    x, y, yaw = fine_from_ego
    axis = (np.arange(FINE_SIDE) + 0.5) * FINE_M
    cos, sin = np.cos(yaw), np.sin(yaw)
    scale = 1.0 / GRID.voxel_size
    # Ego coordinates of the centres, in cells from the observation's corner.
    along_x = [(part * scale).astype(np.float32) for part in (cos * (axis - x) - GRID.origin[0], -sin * (axis - x))]
    along_y = [(part * scale).astype(np.float32) for part in (sin * (axis - y), cos * (axis - y) - GRID.origin[1])]
    u, v = (along_x[k][:, None] + along_y[k] for k in (0, 1))
    inside = (u >= 0) & (u < GRID.shape[0]) & (v >= 0) & (v < GRID.shape[1])
    index = np.flatnonzero(inside)
    u, v = u.ravel()[index], v.ravel()[index]
    i, j = u.astype(np.int32), v.astype(np.int32)
    size = np.float32(GRID.voxel_size)
    return _Footprint(index, i, j, (u - i - np.float32(0.5)) * size, (v - j - np.float32(0.5)) * size)


def _in_bracket(
    observed: NDArray[np.uint8], columns: NDArray[np.uint8], at: _Footprint, rows: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether each voxel of `columns` has a class of the four observed cells around it, at its height: [len(rows)]."""
    i, j = at.i[rows], at.j[rows]
    beside_i = (i + np.where(at.dx[rows] > 0, 1, -1)).clip(0, GRID.shape[0] - 1)
    beside_j = (j + np.where(at.dy[rows] > 0, 1, -1)).clip(0, GRID.shape[1] - 1)
    found = np.zeros(columns.shape, bool)
    for a, b in ((i, j), (beside_i, j), (i, beside_j), (beside_i, beside_j)):
        found |= observed[a * GRID.shape[1] + b] == columns
    return found.all(axis=1)
