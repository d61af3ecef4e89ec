"""An observation as the arrays that the model takes: voxels as packed rows, and the few rows under and around things,
which the host finds with less work than a network. numpy only.

Shapes: C object cells, G ring columns of 16 cells (genie/ring.py), M kept columns, K objects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genie.grid import CELLS, COLUMNS
from genie.observation import ObservedScene
from genie.ring import ring_cells
from genie.rows import as_rows
from perception.types import CLASS_NAMES, FREE, GROUND, MOVABLE

_GROUND = np.isin(np.arange(FREE + 1), GROUND)
_MOVABLE = np.isin(np.arange(FREE + 1), MOVABLE)
# Ends at the border: what is movable, and a cone, which stands alone.
ENDS = np.isin(np.arange(FREE + 1), (*MOVABLE, CLASS_NAMES.index("traffic_cone")))


def model_inputs(scene: ObservedScene) -> dict[str, NDArray[Any]]:
    """By name, in order: the fields of genie.model.TrackedOccupancy, then those of EgoMotion.

    rows, raised, lowered: int32 [200, 200, 4], as observed, and a voxel higher and lower.
    object_id, small: int32 [200, 200]. object_cells: int32 [C].
    bare, movers:    int32 [C, 4], of each object cell: the ground under it, and what is movable in it over that ground.
    border_standing: int32 [G, 16, 4], of each cell of the ring around the grid: what stands there and goes on outwards,
        nothing movable and no cone. border_ground: the same, ground alone.
    objects:         float32 [K, F].
    evidence_block:  int32 [S, S]. evidence_row: int32 [W]. evidence: int32 [M, 4]. fine_from_ego: float32 [3].
    ego_motion, ego_velocity: float32 [3]. ego_acceleration: float32 [2]. continues, dt: float32 [1].
    """
    columns = scene.semantics.reshape(-1, scene.semantics.shape[2])
    under, border = scene.object_cells.clip(min=0), ring_cells(COLUMNS).ravel()
    bare, ground = (_bare(columns, scene, cells) for cells in (under, border))
    things, standing = columns[under], columns[border]
    standing = np.where(ENDS[standing].any(-1, keepdims=True), ground, standing)
    ring = (-1, CELLS * CELLS, standing.shape[-1])
    return {
        "rows": as_rows(scene.semantics),
        "raised": as_rows(_shifted(scene.semantics, slice(1, None), slice(None, -1))),
        "lowered": as_rows(_shifted(scene.semantics, slice(None, -1), slice(1, None))),
        "object_id": scene.object_id,
        "object_cells": scene.object_cells,
        "small": scene.small,
        "bare": as_rows(bare),
        "movers": as_rows(np.where(_MOVABLE[things], things, bare)),
        "border_standing": as_rows(standing.reshape(ring)),
        "border_ground": as_rows(ground.reshape(ring)),
        "objects": scene.objects,
        "evidence_block": scene.evidence_block,
        "evidence_row": scene.evidence_row,
        "evidence": as_rows(scene.evidence),
        "fine_from_ego": scene.fine_from_ego,
        "ego_motion": scene.ego_motion,
        "ego_velocity": scene.ego_velocity,
        "ego_acceleration": scene.ego_acceleration,
        "continues": scene.continues,
        "dt": scene.dt,
    }


def _shifted(semantics: NDArray[np.uint8], to: slice, source: slice) -> NDArray[np.uint8]:
    """Along z; free where nothing comes from."""
    out = np.full_like(semantics, FREE)
    out[..., to] = semantics[..., source]
    return out


def _bare(columns: NDArray[np.uint8], scene: ObservedScene, cells: NDArray[np.int64]) -> NDArray[np.uint8]:
    """What lies flat at the cells where no object covers it, copied from the nearest such cell: [n, 16]."""
    found = columns[scene.uncovered.ravel()[cells]]
    return np.where(_GROUND[found], found, np.uint8(FREE))
