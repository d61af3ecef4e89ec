"""Class ids of packed rows (genie/rows.py) and back, in arithmetic that every runtime has."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from genie.rows import WORDS

_PLACES = (1, 256, 256**2, 256**3)


def unpack(rows: Int[Tensor, "... 4"]) -> Int[Tensor, "... 16"]:
    """Class ids of rows."""
    places = torch.tensor(_PLACES, dtype=torch.int32, device=rows.device)
    above = torch.div(rows.unsqueeze(-1), places, rounding_mode="trunc")  # class ids are below 128: never negative
    return (above - torch.div(above, 256, rounding_mode="trunc") * 256).flatten(-2)


def pack(classes: Int[Tensor, "... 16"]) -> Int[Tensor, "... 4"]:
    """The inverse of `unpack`."""
    first, second, third, fourth = classes.to(torch.int32).unflatten(-1, (WORDS, 4)).unbind(-1)
    return first + 256 * (second + 256 * (third + 256 * fourth))
