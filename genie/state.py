"""All that a stream carries from tick to tick. Modules keep nothing: a hidden state would not export.

Shapes: L layers, P past frames, N = 2500 tokens, d channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from genie.attention import key_width
from genie.config import ModelConfig
from genie.grid import COLUMNS


class StreamState(NamedTuple):
    """Newest past frame first.

    keys, values: per layer [P, N, k] and [P, N, d] (k: genie.attention.key_width), each in the frame in which it was
        observed: it is looked up there by the composite pose and never moved, so that nothing drifts.
    now_from_past: [P, 3], x (m), y (m), yaw (rad) of those frames, as seen from the newest.
    filled: [P], 1 where there is a frame, 0 where there is none yet.
    """

    keys: tuple[Float[Tensor, "P N k"], ...]
    values: tuple[Float[Tensor, "P N d"], ...]
    now_from_past: Float[Tensor, "P 3"]
    filled: Float[Tensor, " P"]


def empty_state(config: ModelConfig, device: torch.device | None = None) -> StreamState:
    """Before the first frame, or after a flush."""

    def nothing(width: int) -> tuple[Tensor, ...]:
        shape = (config.history, COLUMNS * COLUMNS, width)
        return tuple(torch.zeros(shape, device=device) for _ in range(config.layers))

    return StreamState(
        nothing(key_width(config.width, config.heads)),
        nothing(config.width),
        torch.zeros(config.history, 3, device=device),
        torch.zeros(config.history, device=device),
    )
