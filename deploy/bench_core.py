"""The attention core as graphs of its own: from encoded columns to tokens, ego warp of what is cached and memory
included, and nothing else of a tick. Also the move alone. Any grid side, any history length, any number of horizons.

Shapes: N = side * side columns, k selected ones, P past frames, d channels, H horizons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from deploy.graphs import Graph, flatten
from deploy.spec import STATE_IN, STATE_OUT
from genie.attention import key_width
from genie.columns import Window, column_centers, compose
from genie.config import ModelConfig
from genie.decoder import Invented, choose_columns
from genie.forecast import KeptColumns, SeenRows, move
from genie.gated_state import Slots
from genie.grid import CELLS, HEIGHT
from genie.memory import Overwritten, advance_slots, fuse
from genie.model import GenieDrive
from genie.observation import CENTER, MEASURED
from genie.packing import unpack
from genie.rows import WORDS
from genie.sparse import Cached, attend_rows, kept_rows
from genie.state import StreamState
from perception.types import HORIZONS_S

# 0.8 m in 0.1 s.
_EGO = {"now_from_previous": torch.tensor([-0.8, 0.02, 0.01]), "continues": torch.ones(1), "dt": torch.full((1,), 0.1)}


class _Random:
    """Normal numbers and choices, the same every time."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def some(self, of: int, count: int) -> Tensor:
        return torch.randperm(of, generator=self._generator)[:count]


class DenseCore(nn.Module):
    """As in GenieDrive.step: all columns read each other and the warped history, which then advances."""

    def __init__(self, model: GenieDrive, side: int) -> None:
        super().__init__()
        self.model, self.side = model, side

    def forward(
        self, encoded: Tensor, now_from_previous: Tensor, continues: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        model, layers = self.model, self.model.config.layers
        before = StreamState(tuple(state[:layers]), tuple(state[layers : 2 * layers]), *state[2 * layers :])
        now_from_past = compose(now_from_previous.unsqueeze(0), before.now_from_past)
        filled = before.filled * continues
        history = model._warp_history(before, now_from_past, filled, _window(self.side))
        tokens = model.attend(encoded, *history)
        after = model._advance(before, encoded, now_from_past, filled)
        return (tokens, *flatten(after).values())


class GatedCore(nn.Module):
    """As in genie.gated.gated_tick, for the first k of `order`: what they overwrite is fused, they read all that is
    cached.

    place_xy, expected_xy, moving, filled: [N, .], what the gate says of the columns that stand for the present ones
    (`source`).
    """

    def __init__(self, model: GenieDrive, side: int) -> None:
        super().__init__()
        self.model, self.side = model, side

    def forward(
        self,
        encoded: Tensor,
        order: Tensor,
        source: Tensor,
        place_xy: Tensor,
        expected_xy: Tensor,
        moving: Tensor,
        filled: Tensor,
        now_from_previous: Tensor,
        continues: Tensor,
        dt: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        model, config, layers = self.model, self.model.config.gate, self.model.config.layers
        keys, values, rest = state[:layers], state[layers : 2 * layers], state[2 * layers :]
        row, was, told, slots, stands_for, slot_xy, slot_moving, age = rest
        memory = Slots(slots, stands_for, slot_xy, slot_moving, age)
        rows = order[: len(encoded)]
        last = rows[: kept_rows(len(rows), layers, config)[-1]]
        before = was[source]
        overwritten = Overwritten(before[rows], place_xy[rows], moving[rows], filled[rows])
        memory = fuse(advance_slots(memory, now_from_previous, continues, dt), overwritten, config)
        centers = column_centers(_window(self.side))[0]
        filled = filled.index_put((last,), torch.ones_like(filled[last]))
        xy = expected_xy.index_put((rows,), centers[rows])
        cached = Cached(tuple(keys), tuple(values), row[source[order]], xy[order], filled[order])
        attended = attend_rows(model.stack, encoded, cached, memory, config)
        tokens = told[source].index_put((last,), model.norm(attended.tokens))
        row_now = torch.zeros_like(order).index_put((order,), torch.arange(len(order)))
        encoded_now = before.index_put((rows,), encoded)
        return (*attended.keys, *attended.values, row_now, encoded_now, tokens, *flatten(memory).values())


class MoveAlone(nn.Module):
    """genie.forecast.move, for as many horizons as it is given."""

    def forward(
        self, trajectory: Tensor, displacement: Tensor, chosen: Tensor, classes: Tensor, center: Tensor, *seen: Tensor
    ) -> tuple[Tensor, ...]:
        observed, kept = SeenRows(*seen[:6]), KeptColumns(*seen[6:])
        moved = move(observed, center, displacement, trajectory, Invented(chosen, classes), kept)
        return (moved.rows,)


def dense_core(model: GenieDrive, side: int) -> Graph:
    """Every past frame is filled, each 0.8 m before the next."""
    config, random = model.config, _Random()
    keys, values = _caches(config, random, (config.history, side * side))
    past = torch.arange(1, config.history + 1).unsqueeze(1) * _EGO["now_from_previous"]
    state = flatten(StreamState(keys, values, past, torch.ones(config.history)))
    inputs = {
        "encoded": random(1, side * side, config.width),
        **{name: _EGO[name] for name in ("now_from_previous", "continues")},
        **{STATE_IN + name: value for name, value in state.items()},
    }
    name = f"core_dense_{side}_{config.history}"
    return Graph(name, DenseCore(model, side), inputs, ("tokens", *(STATE_OUT + n for n in state)))


def gated_core(model: GenieDrive, k: int, side: int) -> Graph:
    """k columns at random; everything is filled and stands for its neighbour, as after 1.6 m of driving."""
    config, columns, random = model.config, side * side, _Random()
    keys, values = _caches(config, random, (columns,))
    state = {
        **{f"keys_{i}": x for i, x in enumerate(keys)},
        **{f"values_{i}": x for i, x in enumerate(values)},
        "row": random.some(columns, columns),
        "encoded": random(columns, config.width),
        "tokens": random(columns, config.width),
        **flatten(_filled_slots(config, random), "memory."),
    }
    inputs = {
        "encoded": random(k, config.width),
        "order": random.some(columns, columns),
        "source": (torch.arange(columns) + side).clamp(max=columns - 1),
        "place_xy": column_centers(_window(side))[0] + 0.3,
        "expected_xy": column_centers(_window(side))[0] + 0.4,
        "moving": (random(columns) > 2.0).float(),
        "filled": torch.ones(columns),
        **_EGO,
        **{STATE_IN + name: value for name, value in state.items()},
    }
    return Graph(f"core_gated_{side}_{k}", GatedCore(model, side), inputs, tuple(STATE_OUT + n for n in state))


def with_history(model: GenieDrive, frames: int) -> GenieDrive:
    """The same weights, another number of past frames."""
    other = GenieDrive(dataclasses.replace(model.config, history=frames)).eval()
    other.load_state_dict(model.state_dict())
    return other


def move_alone(seen: Mapping[str, Tensor], horizons_s: Sequence[float], invented: int) -> Graph:
    """
    Args:
        seen: inputs of a tick, by name (genie.inputs.model_inputs).
        invented: columns outside the observation.
    """
    seconds, objects, velocity = torch.tensor(horizons_s).unsqueeze(1), seen["objects"], seen["ego_velocity"]
    measured = objects[:, MEASURED] * seconds.unsqueeze(2)
    inputs = {
        "trajectory": seconds * velocity,
        "displacement": nn.functional.pad(measured, (0, 1)),
        "chosen": choose_columns(torch.tensor(HORIZONS_S).unsqueeze(1) * velocity, invented),
        "classes": unpack(seen["rows"].reshape(-1, WORDS)[: invented * CELLS * CELLS]).reshape(-1, HEIGHT),
        "center": objects[:, CENTER],
        "rows": seen["rows"].reshape(-1, WORDS),
        "object_id": seen["object_id"].reshape(-1),
        **{name: seen[name] for name in ("object_cells", "bare", "movers", "border_ground")},
        **{name: seen[name] for name in ("evidence_block", "evidence_row", "evidence", "fine_from_ego")},
    }
    return Graph(f"move_{len(horizons_s)}", MoveAlone(), inputs, ("forecast.rows",))


def _window(side: int) -> Window:
    return Window(torch.zeros(1, 2, dtype=torch.long), side)


def _caches(
    config: ModelConfig, random: _Random, rows: tuple[int, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Keys and values of each layer."""
    widths = (key_width(config.width, config.heads), config.width)
    keys, values = (tuple(random(*rows, width) for _ in range(config.layers)) for width in widths)
    return keys, values


def _filled_slots(config: ModelConfig, random: _Random) -> Slots:
    """Of fused memory, each slot standing for a few tokens."""
    count = config.gate.slots
    stands_for = 1.0 + random(count).abs() * 4.0
    moving = (random(count) > 2.0).float()
    return Slots(random(count, config.width), stands_for, random(count, 2) * 20.0, moving, random(count).abs())
