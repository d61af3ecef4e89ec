"""The table of confidence: shares where they were measured, the nearest ones where nothing was."""

from __future__ import annotations

import numpy as np
import pytest

from genie.model import CONFIDENCE_SHAPE
from genie.training.confidence import PRIOR_VOXELS, shares

STANDS, MOVES = 0, 1


@pytest.fixture
def counts() -> tuple[np.ndarray, np.ndarray]:
    """Voxels right and shown: a hundred priors of each kind, four in five right where the ego moves, all where not."""
    shown = np.full(CONFIDENCE_SHAPE, 100 * PRIOR_VOXELS)
    right = shown * np.array([1.0, 0.8]).reshape(2, 1, 1)
    return right, shown


def test_of_many_voxels_their_own_share(counts: tuple[np.ndarray, np.ndarray]) -> None:
    found = shares(*counts)
    assert found[:, STANDS] == pytest.approx(1.0, abs=0.01) and found[:, MOVES] == pytest.approx(0.8, abs=0.01)


def test_of_none_the_share_of_the_same_origin_and_horizon(counts: tuple[np.ndarray, np.ndarray]) -> None:
    right, shown = counts
    right[1, STANDS, 2, 2] = shown[1, STANDS, 2, 2] = 0.0
    assert shares(right, shown)[1, STANDS, 2, 2] == pytest.approx(0.8, abs=0.01)


def test_of_an_origin_that_never_is_the_share_of_its_horizon(counts: tuple[np.ndarray, np.ndarray]) -> None:
    right, shown = counts
    right[..., 2] = shown[..., 2] = 0.0
    right[1, :, 5] *= 0.5
    found = shares(right, shown)
    assert found[1, :, 5, 2] == pytest.approx(0.45, abs=0.01) and found[1, :, 4, 2] == pytest.approx(0.9, abs=0.01)
    assert np.isfinite(shares(np.zeros(CONFIDENCE_SHAPE), np.zeros(CONFIDENCE_SHAPE))).all()
