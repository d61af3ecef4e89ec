"""The gated tick: predict, verify, repair. The same weights as the dense twin (genie/model.py), a fraction of the work.

    selection = the gate: what differs from what was expected (genie/gate.py)
    encoded   = encode the selected columns
    memory    = fuse what they overwrite
    tokens    = attend, selected columns to all cached ones and to the memory; the rest keep theirs
    forecast  = as the dense twin tells it, from all tokens

Shapes as in genie/model.py; k selected columns.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genie.columns import column_centers, whole_grid
from genie.forecast import look_up
from genie.gate import Selection
from genie.gate_input import GateInput, N, cells_of_columns
from genie.gated_state import ColumnFacts, GatedState, Slots
from genie.grid import COLUMNS
from genie.memory import Overwritten, advance_slots, fuse, push
from genie.model import EgoMotion, Forecast, GenieDrive, Plan, TrackedOccupancy
from genie.observation import AGE, KIND, MEASURED
from genie.packing import unpack
from genie.rows import WORDS
from genie.sparse import Cached, attend_rows, kept_rows
from genie.tracking import TRUSTED_AFTER_S
from perception.types import HORIZONS_S

CHANGED_WITHIN = 2  # columns: what lies farther from a change is not made stale by it


def gate_input(occupancy: TrackedOccupancy, ego: EgoMotion, refresh: Float[Tensor, 1]) -> GateInput:
    """refresh: 1 in a burst (genie.buckets.refresh_due)."""
    return GateInput(
        occupancy.rows.reshape(-1, WORDS),
        occupancy.raised.reshape(-1, WORDS),
        occupancy.lowered.reshape(-1, WORDS),
        occupancy.object_id.reshape(-1),
        occupancy.small.reshape(-1),
        occupancy.objects,
        ego.now_from_previous,
        ego.continues,
        ego.dt,
        refresh,
    )


def gated_tick(
    model: GenieDrive,
    occupancy: TrackedOccupancy,
    ego: EgoMotion,
    selection: Selection,
    k: int,
    state: GatedState,
    plan: Plan,
) -> tuple[Forecast, GatedState]:
    """Computes the first k columns of the selection, and forecasts."""
    config = model.config.gate
    rows = selection.order[:k]
    last = rows[: kept_rows(k, model.config.layers, config)[-1]]
    expected, source = selection.columns, selection.source
    encoded = _encode(model, occupancy, selection.owner, rows)
    before = state.encoded[source]
    moving = (expected.velocity.square().sum(-1) > 0).to(expected.velocity.dtype)
    # What is fused is summed up over many ticks: in FP32, also where tokens are not.
    overwritten = Overwritten(before[rows].float(), expected.place[rows, :2], moving[rows], expected.filled[rows])
    memory = advance_slots(state.memory, ego.now_from_previous, ego.continues, ego.dt)
    memory = _remember(memory, overwritten, config.memory, model)
    filled = expected.filled.index_put((last,), torch.ones_like(expected.filled[last]))
    cached = cached_by_rank(selection, state, filled, k)
    attended = attend_rows(model.stack, encoded, cached, memory, config)
    tokens = state.tokens[source].index_put((last,), model.norm(attended.tokens))
    forecast = model.tell(occupancy, ego, tokens.unsqueeze(0), plan)
    columns = _computed(selection, occupancy, forecast, rows, filled)
    row = torch.zeros_like(selection.order).index_put((selection.order,), torch.arange(N, device=rows.device))
    encoded_now = before.index_put((rows,), encoded)
    return forecast, GatedState(attended.keys, attended.values, row, encoded_now, tokens, columns, memory)


def cached_by_rank(selection: Selection, state: GatedState, filled: Float[Tensor, " N"], k: int) -> Cached:
    """What attention finds. The first k by rank are where they are now, the others where they are expected."""
    order, expected = selection.order, selection.columns
    rows = order[:k]
    centers = column_centers(whole_grid(device=order.device))[0]
    xy = expected.place[:, :2] + expected.velocity * expected.age.unsqueeze(1)
    xy = xy.index_put((rows,), centers[rows])
    return Cached(state.keys, state.values, state.row[selection.source[order]], xy[order], filled[order])


def _encode(model: GenieDrive, occupancy: TrackedOccupancy, owner: Tensor, rows: Tensor) -> Float[Tensor, "k d"]:
    cells = cells_of_columns(rows.device)[rows]
    voxels = unpack(look_up(occupancy.rows.reshape(-1, WORDS), cells))
    encoded: Tensor = model.tokenizer.encode(
        voxels.unsqueeze(0), owner[rows].unsqueeze(0), occupancy.objects.unsqueeze(0)
    )
    return encoded[0]


def _remember(memory: Slots, overwritten: Overwritten, kind: str, model: GenieDrive) -> Slots:
    if kind == "slots":
        return fuse(memory, overwritten, model.config.gate)
    return push(memory, overwritten, model.stack) if kind == "frames" else memory


def _computed(
    selection: Selection,
    occupancy: TrackedOccupancy,
    forecast: Forecast,
    rows: Int[Tensor, " k"],
    filled: Float[Tensor, " N"],
) -> ColumnFacts:
    """The facts after the tick: present ones for the selected columns; what lies near a change is stale."""
    facts, device = selection.columns, rows.device
    cells = cells_of_columns(device)[rows]
    centers = column_centers(whole_grid(device=device))[0]
    # The velocity that the forecast gives each object, so that the next surprise is that of the forecast.
    shift = torch.nn.functional.pad(forecast.displacement[0, :, :2] / HORIZONS_S[0], (0, 0, 1, 0))
    moving = torch.nn.functional.pad(occupancy.objects[:, MEASURED].square().sum(-1) > 0, (1, 0)).float()
    # What has not been seen for long enough to tell may move, too.
    young = (occupancy.objects[:, AGE] < TRUSTED_AFTER_S) & (occupancy.objects[:, KIND].sum(-1) > 0)
    may_leave = torch.maximum(moving[1:], young.float())
    owner_of_cell = look_up(occupancy.object_id.reshape(-1), cells)
    velocity = look_up(shift * moving.unsqueeze(1), selection.owner[rows])
    zero = torch.zeros(len(rows), device=device)

    changed = torch.zeros_like(facts.stale).index_put((rows,), selection.changed[rows])
    side = 2 * CHANGED_WITHIN + 1
    grid = changed.reshape(1, 1, COLUMNS, COLUMNS)
    near = torch.nn.functional.max_pool2d(grid, side, stride=1, padding=CHANGED_WITHIN).reshape(-1)
    stale = torch.maximum(facts.stale, near)

    def put(old: Tensor, new: Tensor) -> Tensor:
        return old.index_put((rows,), new)

    return ColumnFacts(
        place=put(facts.place, torch.cat([centers[rows], zero.unsqueeze(1)], dim=1)),
        velocity=put(facts.velocity, velocity),
        age=put(facts.age, zero),
        filled=filled,
        stale=put(stale, zero),
        occupied=put(facts.occupied, (selection.owner[rows] > 0).float()),
        held=look_up(torch.nn.functional.pad(may_leave, (1, 0)), selection.owner),
        reference=put(facts.reference, look_up(occupancy.rows.reshape(-1, WORDS), cells)),
        small=put(facts.small, look_up(occupancy.small.reshape(-1), cells)),
        moves=put(facts.moves, look_up(moving, owner_of_cell)),
    )
