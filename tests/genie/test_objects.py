"""Things as connected cells: what is found fast is what a plain loop finds."""

from __future__ import annotations

import numpy as np

from genie.objects import highest
from genie.observation import small_things
from perception.types import CLASS_NAMES, FREE, GRID

SMALL = {CLASS_NAMES.index(n) for n in ("pedestrian", "bicycle", "traffic_cone")}


def test_small_things_are_those_that_a_loop_finds() -> None:
    """1 + the highest class of them in each column, wherever in it they are; 0 where there is none."""
    rng = np.random.default_rng(0)
    semantics = np.full(GRID.shape, FREE, np.uint8)
    some = rng.random(GRID.shape) < 0.02
    semantics[some] = rng.integers(0, FREE, some.sum())
    semantics[0, 0], semantics[-1, -1, 15] = 7, 8
    expected = np.zeros(GRID.shape[:2], np.int32)
    for i, j, k in zip(*np.nonzero(np.isin(semantics, list(SMALL))), strict=True):
        expected[i, j] = max(expected[i, j], 1 + semantics[i, j, k])
    assert expected[0, 0] == 8 and expected[-1, -1] == 9
    assert np.array_equal(small_things(semantics), expected)


def test_the_highest_of_a_table_is_that_of_plain_indexing() -> None:
    """Also of a view, and where every column has some."""
    rng = np.random.default_rng(1)
    table = rng.integers(0, 9, 256).astype(np.uint8)
    semantics = rng.integers(0, 18, (12, 14, 32)).astype(np.uint8)[..., ::2]
    assert np.array_equal(highest(table, semantics), table[semantics].max(-1))
