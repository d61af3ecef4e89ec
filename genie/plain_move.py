"""The plain numpy twin of `genie/forecast.py`: object by object, horizon by horizon, nothing invented.

It is what the tracker baseline shows and what the fast path is tested against.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genie.evidence import BLOCK_SIDE, FINE_M, NOTHING_KEPT, PER_BLOCK
from genie.observation import CENTER, MEASURED, MOVES_ABOVE_M, ObservedScene
from perception.types import FREE, GRID, GROUND, HORIZONS_S, MOVABLE

_GROUND = np.isin(np.arange(FREE + 1), GROUND)
_MOVABLE = np.isin(np.arange(FREE + 1), MOVABLE)
_AXIS = GRID.origin[0] + (np.arange(GRID.shape[0]) + 0.5) * GRID.voxel_size
_X, _Y = np.meshgrid(_AXIS, _AXIS, indexing="ij")


def measured_displacement(scene: ObservedScene) -> NDArray[np.float64]:
    """Constant measured velocity, no turn, [H, K, 3]."""
    return constant_velocity(scene.objects[:, MEASURED])


def constant_velocity(velocity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Displacement [H, K, 3] of what goes on at `velocity` [K, 2] (m/s), without a turn."""
    out = np.zeros((len(HORIZONS_S), len(velocity), 3))
    out[..., :2] = velocity[None] * np.asarray(HORIZONS_S)[:, None, None]
    return out


def plain_move(
    scene: ObservedScene,
    displacement: NDArray[np.float64],
    trajectory: NDArray[np.float64],
    *,
    fill: bool = True,
    fused: bool = True,
) -> NDArray[np.uint8]:
    """Future scenes uint8 [H, 200, 200, 16].

    Args:
        displacement: [H, K, 3], shift (m) and turn (rad) about the centroid, in the present ego frame.
        trajectory: [H, 3], future ego poses in the present ego frame.
        fill: continue the nearest ground where nothing was seen, else leave it free.
        fused: look static voxels up in the evidence kept from the past, where it is nearer than the present.
    """
    moves = np.append(False, np.linalg.norm(displacement[-1, :, :2], axis=-1) > MOVES_ABOVE_M)
    bare = np.where(_GROUND[scene.semantics], scene.semantics, FREE).reshape(-1, GRID.shape[2])
    bare = bare[scene.uncovered.ravel()].reshape(GRID.shape)
    remaining = np.where(moves[scene.object_id][..., None], bare, scene.semantics)
    over_ground = np.where(_MOVABLE[scene.semantics], scene.semantics, bare)
    reach = _reach(scene)
    out = np.empty((len(trajectory), *GRID.shape), np.uint8)
    for h, (x, y, yaw) in enumerate(trajectory):
        there_x = np.cos(yaw) * _X - np.sin(yaw) * _Y + x
        there_y = np.sin(yaw) * _X + np.cos(yaw) * _Y + y
        i, j, inside = _cells(there_x, there_y)
        out[h] = remaining[i, j]
        if fused:
            kept, columns = _kept(scene, there_x, there_y)
            use = kept & inside & ~moves[scene.object_id][i, j]
            out[h][use] = columns[use]
        out[h][~inside] = bare[i, j][~inside] if fill else FREE
        for k in np.flatnonzero(moves[1:]):
            dx, dy, turn = displacement[h, k]
            cx, cy = scene.objects[k, CENTER]
            near = _square_around(cx + dx - x, cy + dy - y, yaw, reach[k])
            px, py = there_x[near] - cx - dx, there_y[near] - cy - dy
            i, j, inside = _cells(
                np.cos(turn) * px + np.sin(turn) * py + cx, np.cos(turn) * py - np.sin(turn) * px + cy
            )
            hit = inside & (scene.object_id[i, j] == k + 1)
            out[h][near][hit] = over_ground[i[hit], j[hit]]
    return out


def _cells(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    i = np.floor((x - GRID.origin[0]) / GRID.voxel_size).astype(np.int64)
    j = np.floor((y - GRID.origin[1]) / GRID.voxel_size).astype(np.int64)
    last = GRID.shape[0] - 1
    inside = (i >= 0) & (i <= last) & (j >= 0) & (j <= last)
    return i.clip(0, last), j.clip(0, last), inside


def _kept(
    scene: ObservedScene, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Whether something nearer than the present was kept for each point of the ego frame, and that column."""
    tx, ty, yaw = scene.fine_from_ego.astype(np.float64)
    last = PER_BLOCK * BLOCK_SIDE - 1
    i = np.floor((np.cos(yaw) * x - np.sin(yaw) * y + tx) / FINE_M).astype(np.int64).clip(0, last)
    j = np.floor((np.sin(yaw) * x + np.cos(yaw) * y + ty) / FINE_M).astype(np.int64).clip(0, last)
    row = scene.evidence_row[scene.evidence_block[i // PER_BLOCK, j // PER_BLOCK] + PER_BLOCK * i + j]
    table = np.concatenate([scene.semantics.reshape(-1, GRID.shape[2]), scene.evidence])
    return row != NOTHING_KEPT, table[row - 1]


def _reach(scene: ObservedScene) -> NDArray[np.float64]:
    """Distance (m) from each object's centroid beyond which it has no cell, [K]."""
    ix, iy = np.nonzero(scene.object_id)
    who = scene.object_id[ix, iy] - 1
    distance = np.hypot(_AXIS[ix] - scene.objects[who, 0], _AXIS[iy] - scene.objects[who, 1])
    reach = np.zeros(len(scene.objects))
    np.maximum.at(reach, who, distance)
    return reach + GRID.voxel_size


def _square_around(dx: float, dy: float, yaw: float, reach: float) -> tuple[slice, slice]:
    """Cells of the future grid within `reach` of a point; (dx, dy) is the point from the future ego, present axes."""
    center = np.array([np.cos(yaw) * dx + np.sin(yaw) * dy, np.cos(yaw) * dy - np.sin(yaw) * dx])
    low = np.floor((center - reach - GRID.origin[0]) / GRID.voxel_size).astype(int).clip(0, GRID.shape[0])
    high = np.ceil((center + reach - GRID.origin[0]) / GRID.voxel_size).astype(int).clip(0, GRID.shape[0])
    return slice(low[0], high[0]), slice(low[1], high[1])
