"""What lies outside a window of columns, if its border went on outwards: the ring of columns just around it.

Every column outside continues the ring column that it is clamped to: beside an edge the border cells repeat outwards,
beyond a corner the corner cell does. So there are 4 * side + 4 continuations, however many columns lie outside.
Shapes: side, columns along the window; G = 4 * side + 4 ring columns. numpy only.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from genie.grid import CELLS


def ring_count(side: int) -> int:
    return 4 * side + 4


@functools.cache
def _places(side: int) -> NDArray[np.int64]:
    """Ring columns in row order [G, 2], relative to the window's corner: coordinates -1..side."""
    frame = np.ones((side + 2, side + 2), bool)
    frame[1:-1, 1:-1] = False
    return np.argwhere(frame) - 1


@functools.cache
def ring_cells(side: int) -> NDArray[np.int64]:
    """The border cell that each cell of a ring column continues, [G, 16], flat over the window's (4 * side) ** 2."""
    within = np.arange(CELLS * CELLS)
    i, j = (_places(side)[:, axis, None] * CELLS + part for axis, part in enumerate(np.divmod(within, CELLS)))
    last = side * CELLS - 1
    cells: NDArray[np.int64] = i.clip(0, last) * (side * CELLS) + j.clip(0, last)
    return cells


@functools.cache
def ring_table(side: int) -> NDArray[np.int64]:
    """Index of the ring column at coordinates (i - 1, j - 1), flat [(side + 2) ** 2]; 0 within the ring."""
    table = np.zeros((side + 2, side + 2), np.int64)
    i, j = _places(side).T + 1
    table[i, j] = np.arange(len(i))
    return table.ravel()
