"""Static evidence fused over the past: finer than one observation can tell.

A voxel grid that rides with the ego samples the same wall at other places each frame. A canvas of a quarter of the cell
size, fixed to the world, keeps for each of its cells the column of 16 voxels that was observed nearest to the cell's
centre. Nothing is ever resampled: a kept column is an original observation. Each frame checks what is kept against what
it sees: a column with a voxel of a class that none of the four observed cells around has (the half-voxel bracket) is
dropped, so a scene that changes is believed at once. Where all observed cells around are alike there is nothing to
keep: only blocks of the canvas near an edge of the scene exist, and only they cost anything. numpy and OpenCV only.

Shapes: 40000 = 200 x 200 observed cells; S = 288 blocks a side, of 4 x 4 canvas cells each, x major; n of them exist.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.transforms import planar
from perception.types import FREE, GRID, MOVABLE

PER_BLOCK = 4  # canvas cells a side
FINE_M = GRID.voxel_size / PER_BLOCK
BLOCK_M = GRID.voxel_size
BLOCK_SIDE = 288  # 115.2 m: holds the 80 m grid at any heading
MAX_BLOCKS = 16384  # that exist; real motion has 5000 to 8000, towns with vegetation 9000 to 14000
MAX_KEPT = 32768  # columns that differ from the present observation; real motion has 4000 to 8000, towns up to 19000
FADE_MPS = 0.03  # an observation one second older counts as 3 cm farther
CELLS = GRID.shape[0] * GRID.shape[1]
NOTHING_KEPT = 0
_IN_BLOCK = PER_BLOCK * PER_BLOCK
_ALL_TRUE = np.ones(8, bool).view(np.uint64)[0]
_MOVABLE = np.isin(np.arange(FREE + 1), MOVABLE)


class Evidence(NamedTuple):
    """The canvas.

    block:    int32 [S, S], 1 + the row of a block in the others, or NOTHING_KEPT.
    columns:  uint8 [n, 16, 16], of each canvas cell of a block a column.
    distance: float32 [n, 16], from the cell's centre to where the kept column was observed (m, planar), with the fading
        of its age; infinite where nothing is kept.
    corner:   int64 [2], block (0, 0) counted in blocks from the world's origin.
    """

    block: NDArray[np.int32]
    columns: NDArray[np.uint8]
    distance: NDArray[np.float32]
    corner: NDArray[np.int64]


class FusedEvidence(NamedTuple):
    """What a forecast looks static voxels up in.

    block:    int32 [S, S]; the canvas cell (i, j) has its row at block[i // 4, j // 4] + 4 i + j.
    row:      int32 [16 (1 + MAX_BLOCKS)]: 1 + a present cell (below 40000), 1 + 40000 + a row of `columns`, or
        NOTHING_KEPT where the present observation is the best there is; the first 16 are of every block that does not
        exist.
    columns:  uint8 [MAX_KEPT, 16].
    fine_from_ego: float32 [3], x, y (m), yaw (rad): the canvas frame, with its origin at the corner of cell (0, 0).
    """

    block: NDArray[np.int32]
    row: NDArray[np.int32]
    columns: NDArray[np.uint8]
    fine_from_ego: NDArray[np.float32]


def _places(block: NDArray[np.int32]) -> NDArray[np.int32]:
    """`block` of FusedEvidence from that of Evidence."""
    i, j = np.indices(block.shape, np.int32, sparse=True)
    return block * np.int32(_IN_BLOCK) - PER_BLOCK * (PER_BLOCK * i + j)


def _no_evidence() -> FusedEvidence:
    block = _places(np.full((BLOCK_SIDE, BLOCK_SIDE), NOTHING_KEPT, np.int32))
    row = np.full(_IN_BLOCK * (1 + MAX_BLOCKS), NOTHING_KEPT, np.int32)
    columns = np.full((MAX_KEPT, GRID.shape[2]), FREE, np.uint8)
    for array in (block, row, columns):
        array.flags.writeable = False
    return FusedEvidence(block, row, columns, np.zeros(3, np.float32))


NO_EVIDENCE = _no_evidence()  # every voxel is looked up in the present observation alone


class _Footprint(NamedTuple):
    """Blocks [n] near an edge of the scene: their flat index `block`. Of their canvas cells [n, 16]: the observed cell
    (i, j) at the centre, the offset of the centre from that cell's centre (m), and whether it is in the observation."""

    block: NDArray[np.intp]
    i: NDArray[np.int32]
    j: NDArray[np.int32]
    dx: NDArray[np.float32]
    dy: NDArray[np.float32]
    inside: NDArray[np.bool_]


def start_evidence() -> Evidence:
    """Nothing seen yet: no block has a row, and the one row holds nothing."""
    return Evidence(
        np.full((BLOCK_SIDE, BLOCK_SIDE), NOTHING_KEPT, np.int32),
        np.zeros((1, _IN_BLOCK, GRID.shape[2]), np.uint8),
        np.full((1, _IN_BLOCK), np.inf, np.float32),
        np.zeros(2, np.int64),
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
    corner = np.floor(pose[:2] / BLOCK_M).astype(np.int64) - BLOCK_SIDE // 2
    fine_from_ego = pose - np.append(corner * BLOCK_M, 0.0)
    observed = semantics.reshape(CELLS, GRID.shape[2])
    at = _footprint(fine_from_ego, _uneven(_items(observed)))
    cell = at.i * GRID.shape[1] + at.j
    present = _items(observed)[cell]
    past, there = _recall(evidence, corner, at.block, FADE_MPS * dt_s)
    here = np.where(at.inside, np.sqrt(at.dx * at.dx + at.dy * at.dy), np.float32(np.inf))
    nearer = there < here  # what is kept is, than what is observed
    unlike = _differ(present, past)
    differs = np.flatnonzero(nearer & unlike & at.inside)
    agrees = _in_bracket(_items(observed), past.ravel()[differs], at, differs)
    nearer.ravel()[differs[~agrees]] = False
    np.copyto(present, past, where=nearer)
    np.copyto(here, there, where=nearer)
    kept = _kept(corner, at.block, present, here)
    shown = np.where(nearer & ~unlike & at.inside, 1 + cell, NOTHING_KEPT)
    told = differs[agrees][:MAX_KEPT]
    shown.ravel()[told] = 1 + CELLS + np.arange(len(told), dtype=np.int32)
    looked_up = np.full((MAX_KEPT, GRID.shape[2]), FREE, np.uint8)
    _items(looked_up)[: len(told)] = past.ravel()[told]
    if trail is not None:
        shown.ravel()[_ghosts(shown.ravel(), cell.ravel(), trail.ravel(), observed, looked_up)] = NOTHING_KEPT
    row = np.full((1 + MAX_BLOCKS, _IN_BLOCK), NOTHING_KEPT, np.int32)
    row[1 : 1 + len(shown)] = shown
    fused = FusedEvidence(_places(kept.block), row.ravel(), looked_up, fine_from_ego.astype(np.float32))
    return fused, kept


def _items(columns: NDArray[np.uint8]) -> NDArray[np.complex128]:
    """The same memory, one 16-byte item a column, so that a column is moved at once; never computed with."""
    return np.ascontiguousarray(columns).view(np.complex128)[..., 0]


def _differ(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> NDArray[np.bool_]:
    """By their bytes."""
    unequal = a[..., None].view(np.uint64) != b[..., None].view(np.uint64)
    return unequal[..., 0] | unequal[..., 1]


def _uneven(observed: NDArray[np.complex128]) -> NDArray[np.bool_]:
    """Observed cells from which one that is unlike its neighbour is within two cells, [200, 200]."""
    grid = observed.reshape(GRID.shape[:2])
    edge = np.zeros(grid.shape, np.uint8)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        unlike = _differ(np.ascontiguousarray(grid[one]), np.ascontiguousarray(grid[other]))
        edge[one] |= unlike
        edge[other] |= unlike
    return cv2.dilate(edge, np.ones((3, 3), np.uint8)) > 0


def _footprint(fine_from_ego: NDArray[np.float64], uneven: NDArray[np.bool_]) -> _Footprint:
    x, y, yaw = fine_from_ego
    cos, sin = np.cos(yaw), np.sin(yaw)
    scale = 1.0 / GRID.voxel_size
    # Ego coordinates of the centres of blocks, in cells from the observation's corner.
    axis = (np.arange(BLOCK_SIDE) + 0.5) * BLOCK_M
    along_x = [(part * scale).astype(np.float32) for part in (cos * (axis - x) - GRID.origin[0], -sin * (axis - x))]
    along_y = [(part * scale).astype(np.float32) for part in (sin * (axis - y), cos * (axis - y) - GRID.origin[1])]
    u, v = (along_x[k][:, None] + along_y[k] for k in (0, 1))
    block = np.flatnonzero((u >= 0) & (u < GRID.shape[0]) & (v >= 0) & (v < GRID.shape[1]))
    u, v = u.ravel()[block], v.ravel()[block]
    near = np.flatnonzero(uneven[u.astype(np.int32), v.astype(np.int32)])
    if len(near) > MAX_BLOCKS:  # the nearest to the ego
        far = np.hypot(u[near] - GRID.shape[0] / 2, v[near] - GRID.shape[1] / 2)
        near = np.sort(near[np.argsort(far, kind="stable")[:MAX_BLOCKS]])
    within = ((np.arange(PER_BLOCK) + 0.5) / PER_BLOCK - 0.5).astype(np.float32)
    a, b = (part.ravel() for part in np.meshgrid(within, within, indexing="ij"))
    u = u[near, None] + (np.float32(cos) * a + np.float32(sin) * b)
    v = v[near, None] + (np.float32(cos) * b - np.float32(sin) * a)
    inside = (u >= 0) & (u < GRID.shape[0]) & (v >= 0) & (v < GRID.shape[1])
    i, j = (w.clip(0, side - 1).astype(np.int32) for w, side in zip((u, v), GRID.shape[:2], strict=True))
    dx, dy = ((w - np.floor(w) - np.float32(0.5)) * np.float32(GRID.voxel_size) for w in (u, v))
    return _Footprint(block[near], i, j, dx, dy, inside)


def _recall(
    evidence: Evidence, corner: NDArray[np.int64], block: NDArray[np.intp], fade_m: float
) -> tuple[NDArray[np.complex128], NDArray[np.float32]]:
    """What is kept in blocks of a canvas with another corner, faded: copies of `columns`, as items, and `distance`.
    Where nothing is, the distance is infinite, and the column any."""
    i, j = np.unravel_index(block, (BLOCK_SIDE, BLOCK_SIDE))
    i, j = i + (corner[0] - evidence.corner[0]), j + (corner[1] - evidence.corner[1])
    known = (i >= 0) & (i < BLOCK_SIDE) & (j >= 0) & (j < BLOCK_SIDE)
    row = evidence.block[i.clip(0, BLOCK_SIDE - 1), j.clip(0, BLOCK_SIDE - 1)] - 1
    known &= row >= 0
    row = row.clip(0)
    distance = evidence.distance[row] + np.float32(fade_m)
    distance[~known] = np.inf
    return _items(evidence.columns)[row], distance


def _kept(
    corner: NDArray[np.int64],
    block: NDArray[np.intp],
    columns: NDArray[np.complex128],
    distance: NDArray[np.float32],
) -> Evidence:
    index = np.full(BLOCK_SIDE * BLOCK_SIDE, NOTHING_KEPT, np.int32)
    index[block] = 1 + np.arange(len(block), dtype=np.int32)
    return Evidence(
        index.reshape(BLOCK_SIDE, BLOCK_SIDE),
        columns.view(np.uint8).reshape(len(block), _IN_BLOCK, GRID.shape[2]),
        distance,
        corner,
    )


def _ghosts(
    shown: NDArray[np.int32],
    cell: NDArray[np.int32],
    trail: NDArray[np.bool_],
    observed: NDArray[np.uint8],
    columns: NDArray[np.uint8],
) -> NDArray[np.intp]:
    """Canvas cells that would show, beside something that moves, what can move: their flat indices."""
    beside = np.flatnonzero(trail[cell] & (shown != NOTHING_KEPT))
    what = shown[beside] - 1
    kept = what >= CELLS
    voxels = np.where(kept[:, None], columns[(what - CELLS).clip(0)], observed[what.clip(max=CELLS - 1)])
    ghosts: NDArray[np.intp] = beside[_MOVABLE[voxels].any(axis=1)]
    return ghosts


def _in_bracket(
    observed: NDArray[np.complex128], columns: NDArray[np.complex128], at: _Footprint, rows: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether each voxel of `columns` [n] has a class of the four observed cells around it, at its height: [n].

    Args:
        rows: flat index in the footprint, of each column.
    """
    i, j = at.i.ravel()[rows], at.j.ravel()[rows]
    beside_i = (i + np.where(at.dx.ravel()[rows] > 0, 1, -1)).clip(0, GRID.shape[0] - 1)
    beside_j = (j + np.where(at.dy.ravel()[rows] > 0, 1, -1)).clip(0, GRID.shape[1] - 1)
    voxels = columns[:, None].view(np.uint8)
    found = np.zeros(voxels.shape, bool)
    for a, b in ((i, j), (beside_i, j), (i, beside_j), (beside_i, beside_j)):
        found |= observed[a * GRID.shape[1] + b][:, None].view(np.uint8) == voxels
    words = found.view(np.uint64)
    return np.bitwise_and(*words.T) == _ALL_TRUE
