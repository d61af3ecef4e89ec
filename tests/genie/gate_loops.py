"""A street, and gates to run over it: as it is, and deliberate fakes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genie.config import GateConfig
from genie.forecast import look_up
from genie.gate import Selection
from genie.gate_input import cells_of_columns
from genie.gated_state import ColumnFacts
from genie.model import TrackedOccupancy
from genie.rows import WORDS
from tests.genie.gated_scenes import COLUMNS, STREET, GateLoop, View, car, house

Loop = Callable[[], GateLoop]
STANDING = View([*STREET, house(0.0), house(21.0), car(10.0)])
COLUMN = 18 * COLUMNS + 10  # one where nothing is, and its cells
CELLS = (slice(72, 76), slice(40, 44))
DEAF = GateConfig(surprise_above=1e4)


def exact(config: GateConfig | None = None) -> GateLoop:
    """Computes what is needed and no column more."""
    return GateLoop(config, spare=False)


def deaf() -> GateLoop:
    return exact(DEAF)


class Everywhere(GateLoop):
    """A fake: the reference follows the observation, computed or not."""

    def facts(self, selection: Selection, occupancy: TrackedOccupancy, rows: Tensor) -> ColumnFacts:
        cells = cells_of_columns(rows.device)
        reference = look_up(occupancy.rows.reshape(-1, WORDS), cells)
        return super().facts(selection, occupancy, rows)._replace(reference=reference)


class Never(GateLoop):
    """A fake: no refresh."""

    def refresh(self, dt_s: float) -> bool:
        return False


class Always(GateLoop):
    """A fake: a refresh every tick, never a burst."""

    def refresh(self, dt_s: float) -> bool:
        return True


class Blind(GateLoop):
    """A fake: objects are not seen."""

    def facts(self, selection: Selection, occupancy: TrackedOccupancy, rows: Tensor) -> ColumnFacts:
        facts = super().facts(selection, occupancy, rows)
        return facts._replace(occupied=torch.ones_like(facts.occupied))
