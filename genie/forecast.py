"""The forecast is moved, not generated: one gather per horizon from the present observation.

Every future cell looks up one row of 16 voxels in a table of five parts:
    observed   the present observation, as it is
    kept       static columns of earlier observations that were nearer to where they are needed (genie/evidence.py)
    ground     what lies flat where nothing movable covers it, copied from the nearest such cell
    movers     movable voxels over that ground
    invented   columns outside the observation, decoded once
Which row, follows from the future ego pose (static content) or from an object's rigid motion (movers).

Shapes: H horizons, K objects, R invented columns; 40000 = 200 x 200 cells, x major.
`genie/plain_move.py` is the plain numpy twin.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genie.columns import CELLS, HEIGHT, compose, invert, transform
from genie.decoder import EXTENDED, PAD, Invented
from genie.evidence import FINE_M, FINE_SIDE, MAX_KEPT, NOTHING_KEPT
from genie.observation import MOVES_ABOVE_M
from perception.types import FREE, GRID, GROUND, MOVABLE, NUM_CLASSES

SIDE = GRID.shape[0]
CELL_COUNT = SIDE * SIDE
# Where the parts of the row table begin; the observed rows are first.
GROUND_ROWS = CELL_COUNT + MAX_KEPT
MOVER_ROWS = GROUND_ROWS + CELL_COUNT
INVENTED_ROWS = MOVER_ROWS + CELL_COUNT
OBSERVED, MOVED, INVENTED = 0, 1, 2  # where a forecast cell came from


class Moved(NamedTuple):
    """semantics: int32 [H, 200, 200, 16] in the future ego frames; origin: int64 [H, 200, 200], OBSERVED, MOVED or
    INVENTED."""

    semantics: Tensor
    origin: Tensor


class KeptColumns(NamedTuple):
    """genie.evidence.FusedEvidence as tensors: row int32 [F, F], columns int32 [M, 16], fine_from_ego float32 [3]."""

    row: Tensor
    columns: Tensor
    fine_from_ego: Tensor


class Cells(NamedTuple):
    """Cells hit by points: rows int64 [..., 40000] clamped to the grid, and whether the point was inside."""

    rows: Tensor
    inside: Tensor


def class_mask(ids: tuple[int, ...], device: torch.device) -> Tensor:
    mask = torch.zeros(NUM_CLASSES, dtype=torch.bool, device=device)
    mask[list(ids)] = True
    return mask


def cell_centers(device: torch.device) -> Float[Tensor, "40000 2"]:
    axis = GRID.origin[0] + (torch.arange(SIDE, dtype=torch.float32, device=device) + 0.5) * GRID.voxel_size
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)


def cells_at(xy: Float[Tensor, "... 2"]) -> Cells:
    """The cell that holds each point (m)."""
    raw = torch.floor((xy - GRID.origin[0]) / GRID.voxel_size).to(torch.int32)
    clamped = torch.clamp(raw, 0, SIDE - 1)
    inside = (raw == clamped).to(torch.int32).sum(dim=-1) == 2
    return Cells((clamped[..., 0] * SIDE + clamped[..., 1]).long(), inside)


def bare_ground(semantics: Int[Tensor, "X Y Z"], uncovered: Int[Tensor, "X Y"]) -> Int[Tensor, "40000 16"]:
    """What lies flat in each cell, or in the nearest one that no object covers; the rest is free."""
    observed = semantics.reshape(CELL_COUNT, HEIGHT).to(torch.int32)
    return torch.where(_is(observed, GROUND), observed, FREE)[uncovered.reshape(-1).long()]


def without_movable(semantics: Int[Tensor, "X Y Z"], bare: Int[Tensor, "40000 16"]) -> Int[Tensor, "40000 16"]:
    """What stands: each column as observed, but bare ground where something movable is in it."""
    observed = semantics.reshape(CELL_COUNT, HEIGHT).to(torch.int32)
    return torch.where(_is(observed, MOVABLE).any(dim=-1, keepdim=True), bare, observed)


def row_table(
    semantics: Int[Tensor, "X Y Z"], kept: Int[Tensor, "M 16"], bare: Int[Tensor, "40000 16"], invented: Invented
) -> Tensor:
    """The five parts, int32 [INVENTED_ROWS + R * 16, 16]."""
    observed = semantics.reshape(CELL_COUNT, HEIGHT).to(torch.int32)
    movers = torch.where(_is(observed, MOVABLE), observed, bare)
    return torch.cat([observed, kept, bare, movers, invented.classes.to(torch.int32)])


def _is(classes: Tensor, ids: tuple[int, ...]) -> Tensor:
    return class_mask(ids, classes.device)[classes.long()]


def background_rows(
    trajectory: Float[Tensor, "H 3"],
    covered: Tensor,
    slot: Tensor,
    kept: KeptColumns,
    has_movable: Tensor,
) -> tuple[Tensor, Tensor]:
    """Row of each future cell if nothing moved into it, and whether it lies outside the observation, [H, 40000] each.

    Args:
        covered: bool [40000], a mover stands there now and will have left.
        slot: int64 [EXTENDED * EXTENDED], rows of invented columns or -1.
        has_movable: bool [GROUND_ROWS], of the observed and the kept rows.
    """
    source = transform(trajectory.unsqueeze(1), cell_centers(trajectory.device).unsqueeze(0))
    cells = cells_at(source)
    extended = torch.floor((source - GRID.origin[0]) / GRID.voxel_size).to(torch.int32) + PAD * CELLS
    extended = torch.clamp(extended, 0, EXTENDED * CELLS - 1)
    column = torch.div(extended, CELLS, rounding_mode="floor")
    within = extended - column * CELLS
    found = slot[(column[..., 0] * EXTENDED + column[..., 1]).long()]
    invented_row = INVENTED_ROWS + found * CELLS * CELLS + (within[..., 0] * CELLS + within[..., 1]).long()
    ground_row = cells.rows + GROUND_ROWS
    outside_row = torch.where(found >= 0, invented_row, ground_row)
    static_row = kept_rows(trajectory, cells.rows, kept)
    trail = beside_mover(covered)[cells.rows] & has_movable[static_row]
    inside_row = torch.where(covered[cells.rows], ground_row, torch.where(trail, cells.rows, static_row))
    return torch.where(cells.inside, inside_row, outside_row), ~cells.inside


def kept_rows(
    trajectory: Float[Tensor, "H 3"], observed_row: Int[Tensor, "H 40000"], kept: KeptColumns
) -> Int[Tensor, "H 40000"]:
    """Row of the observation nearest to each future cell, the present one's where nothing nearer was kept."""
    fine_from_future = compose(kept.fine_from_ego.unsqueeze(0), trajectory)
    place = transform(fine_from_future.unsqueeze(1), cell_centers(trajectory.device).unsqueeze(0))
    fine = torch.clamp(torch.floor(place / FINE_M).to(torch.int32), 0, FINE_SIDE - 1)
    row = kept.row.reshape(-1)[(fine[..., 0] * FINE_SIDE + fine[..., 1]).long()].long()
    return torch.where(row == NOTHING_KEPT, observed_row, row)


def beside_mover(covered: Tensor) -> Tensor:
    """Cells within one cell of a mover, bool [40000]: something movable that was kept there may be its trail."""
    canvas = covered.to(torch.float32).reshape(1, 1, SIDE, SIDE)
    return torch.nn.functional.max_pool2d(canvas, 3, stride=1, padding=1).reshape(-1) > 0


def mover_rows(
    trajectory: Float[Tensor, "H 3"],
    displacement: Float[Tensor, "H K 3"],
    objects_center: Float[Tensor, "K 2"],
    object_id: Int[Tensor, " 40000"],
    moves: Tensor,
) -> tuple[Tensor, Tensor]:
    """Row of the mover that will stand in each future cell, and whether there is one, [H, 40000] each.

    Forward motion is scattered as object ids only; the cell is then looked up by the exact inverse motion of that
    object, so that rotation leaves no holes and every voxel comes from the observation.
    """
    horizons = trajectory.shape[0]
    device = trajectory.device
    centers = cell_centers(device)
    now_from_then = _rigid(displacement, objects_center)  # (H, K + 1, 3): present frame, moved from unmoved
    future_from_object = compose(invert(trajectory).unsqueeze(1), now_from_then)
    target = cells_at(transform(future_from_object[:, object_id], centers.unsqueeze(0)))
    goes = moves[object_id].unsqueeze(0) & target.inside
    nowhere = horizons * CELL_COUNT
    base = torch.arange(horizons, device=device).unsqueeze(1) * CELL_COUNT
    flat = torch.where(goes, target.rows + base, nowhere).reshape(-1)
    ids = object_id.to(torch.float32).unsqueeze(0).expand(horizons, -1).reshape(-1)
    canvas = torch.zeros(nowhere + 1, device=device).index_put((flat,), ids)[:nowhere]
    landed = canvas.reshape(horizons, 1, SIDE, SIDE)
    spread = torch.nn.functional.max_pool2d(landed, 3, stride=1, padding=1)
    object_from_future = invert(future_from_object)
    row = torch.zeros(horizons, CELL_COUNT, dtype=torch.long, device=device)
    covered = torch.zeros(horizons, CELL_COUNT, dtype=torch.bool, device=device)
    for candidate in (spread, landed):  # the neighbour's id first, then the id that landed here: the latter wins
        who = candidate.reshape(horizons, CELL_COUNT).long()
        offset = torch.arange(horizons, device=device).unsqueeze(1) * object_from_future.shape[1]
        pose = object_from_future.reshape(-1, 3)[who + offset]
        source = cells_at(transform(pose, centers.unsqueeze(0)))
        fits = (who > 0) & source.inside & (object_id[source.rows] == who)
        row = torch.where(fits, source.rows, row)
        covered = covered | fits
    return row + MOVER_ROWS, covered


def _rigid(displacement: Tensor, center: Tensor) -> Tensor:
    """Planar poses (x, y, yaw) of "turn about the centroid, then shift", with row 0 for nobody: [H, K + 1, 3]."""
    yaw = displacement[..., 2]
    turned = transform(torch.stack([torch.zeros_like(yaw), torch.zeros_like(yaw), yaw], -1), center.unsqueeze(0))
    pose = torch.cat([center.unsqueeze(0) - turned + displacement[..., :2], yaw.unsqueeze(-1)], dim=-1)
    return torch.nn.functional.pad(pose, (0, 0, 1, 0))


def move(
    semantics: Int[Tensor, "X Y Z"],
    object_id: Int[Tensor, "X Y"],
    bare: Int[Tensor, "40000 16"],
    objects_center: Float[Tensor, "K 2"],
    displacement: Float[Tensor, "H K 3"],
    trajectory: Float[Tensor, "H 3"],
    invented: Invented,
    kept: KeptColumns,
) -> Moved:
    """The six future scenes."""
    owner = object_id.reshape(-1).long()
    last = displacement[-1, :, :2]
    moves = torch.nn.functional.pad((last * last).sum(-1), (1, 0)) > MOVES_ABOVE_M**2
    table = row_table(semantics, kept.columns, bare, invented)
    has_movable = _is(table[:GROUND_ROWS], MOVABLE).any(dim=-1)
    background, outside = background_rows(trajectory, moves[owner], invented.slot, kept, has_movable)
    mover, covered = mover_rows(trajectory, displacement, objects_center, owner, moves)
    row = torch.where(covered, mover, background)
    origin = torch.where(covered, MOVED, torch.where(outside, INVENTED, OBSERVED))
    horizons = trajectory.shape[0]
    return Moved(table[row].reshape(horizons, *GRID.shape), origin.reshape(horizons, SIDE, SIDE))
