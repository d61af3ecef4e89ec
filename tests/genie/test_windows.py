"""Window counts are what the projects themselves report."""

from __future__ import annotations

import numpy as np
import pytest

from calib.errors import InputError
from genie.data.windows import windows


def validation_lengths() -> list[int]:
    """150 scene lengths, each at least 13, that sum to the 6019 validation frames."""
    rng = np.random.default_rng(0)
    lengths = np.full(150, 13)
    for scene in rng.integers(0, 150, 6019 - lengths.sum()):
        lengths[scene] += 1
    assert lengths.sum() == 6019
    return lengths.tolist()


@pytest.mark.parametrize(
    ("protocol", "count"), [("occworld", 4219), ("i2world", 4519), ("geniedrive", 4669), ("dome", 150)]
)
def test_counts_on_the_validation_split(protocol: str, count: int) -> None:
    assert sum(len(windows(protocol, length)) for length in validation_lengths()) == count


def test_observed_frames_and_the_last_forecast_fit_the_scene() -> None:
    for protocol, observed in (("occworld", 5), ("i2world", 5), ("geniedrive", 4), ("dome", 4)):
        for window in windows(protocol, 40):
            assert window.present - window.first + 1 == observed
            assert window.present + 6 < 40
    assert windows("occworld", 40)[-1].first == 40 - 13


def test_dome_takes_the_first_ten_keyframes() -> None:
    assert [(w.first, w.present + 6) for w in windows("dome", 40)] == [(0, 9)]


def test_stream_windows() -> None:
    assert [w.present for w in windows("stream", 51)] == [0, 10, 20]
    assert windows("stream", 30) == []


def test_unknown_protocol() -> None:
    with pytest.raises(InputError, match="occworld"):
        windows("nuplan", 40)
