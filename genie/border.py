"""The columns along the border of a window, and those around each of them inside: from these, what lies beyond is told.

Shapes: side, columns along the window; E = 4 * side - 4 border columns; A = len(AROUND) places around each. numpy only.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

# Columns inwards from a border column, and along the border: how a road runs into the border shows here.
AROUND = (
    (0, 0), (2, 0), (5, 0), (9, 0),
    (0, -2), (0, 2), (0, -5), (0, 5), (0, -10), (0, 10),
    (3, -4), (3, 4),
)  # fmt: skip


@functools.cache
def _places(side: int) -> NDArray[np.int64]:
    """Border columns in row order, [E, 2]."""
    frame = np.ones((side, side), bool)
    frame[1:-1, 1:-1] = False
    return np.argwhere(frame)


@functools.cache
def border_rows(side: int) -> NDArray[np.int64]:
    """Which border column each column of the window is, flat [side * side]; 0 inside."""
    rows = np.zeros((side, side), np.int64)
    i, j = _places(side).T
    rows[i, j] = np.arange(len(i))
    return rows.ravel()


@functools.cache
def around_border(side: int) -> NDArray[np.int64]:
    """The column at each of AROUND, flat [E, A]; what would be outside is clamped. At a corner inwards is along x."""
    i, j = _places(side).T
    last = side - 1
    along_x = np.where((i == 0) | (i == last), np.sign(last - 2 * i), 0)
    inwards = np.stack([along_x, np.where(along_x == 0, np.sign(last - 2 * j), 0)], axis=-1)
    sideways = np.stack([-inwards[:, 1], inwards[:, 0]], axis=-1)
    steps = np.asarray(AROUND)
    places = _places(side)[:, None] + steps[:, :1] * inwards[:, None] + steps[:, 1:] * sideways[:, None]
    x, y = places.clip(0, last).transpose(2, 0, 1)
    flat: NDArray[np.int64] = x * side + y
    return flat


@functools.cache
def read_columns(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The columns that are somewhere around, each once, flat [U]; and which of them each around is [E, A]."""
    columns, place = np.unique(around_border(side), return_inverse=True)
    return columns, place.reshape(-1, len(AROUND))
