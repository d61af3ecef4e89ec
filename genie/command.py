"""What a navigator tells the ego: the command of the planning benchmarks."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

ASIDE_M = 2.0  # where the ego is at the last horizon beyond this to a side, it was told to go there: as UniAD and VAD


class Command(Enum):
    """The value is the index in the model's input."""

    LEFT = 0
    STRAIGHT = 1
    RIGHT = 2


def command_of(trajectory: NDArray[np.floating]) -> Command | None:
    """The command that a future [H, 3] (x, y in m, yaw; in the present ego frame) obeys; None where its end is NaN."""
    aside = float(trajectory[-1, 1])
    if np.isnan(aside):
        return None
    return Command.LEFT if aside > ASIDE_M else Command.RIGHT if aside < -ASIDE_M else Command.STRAIGHT


def one_hot(command: Command | None) -> NDArray[np.float32]:
    """float32 [3]; zeros: nothing was told."""
    out = np.zeros(len(Command), np.float32)
    if command is not None:
        out[command.value] = 1.0
    return out
