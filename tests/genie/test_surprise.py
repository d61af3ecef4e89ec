"""Surprise with a first look against its plain twin, which examines every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import genie.surprise
from genie.gate_input import GateInput, N
from genie.gated_state import ColumnFacts
from genie.observation import ObservedScene
from genie.surprise import plain_surprise, surprise
from tests.genie.gated_scenes import MANMADE, STREET, Box, GateLoop, View, car, house, observed

POLES = [Box(MANMADE, (x, y), (0.15, 0.15), 2, 9) for x in np.arange(-30.0, 31.0, 7.0) for y in (-9.0, 9.0)]


def drive(frames: int = 8) -> list[ObservedScene]:
    """A curve past houses and poles, beside a moving car: half voxels and a turning grid in every frame."""
    return list(
        observed(
            View([*STREET, *POLES, house(0.0), house(20.3), car(-5.0 + 0.9 * t)], (0.37 * t, 0.05 * t, 0.013 * t))
            for t in range(frames)
        )
    )


def check_it_agrees(monkeypatch: pytest.MonkeyPatch, scenes: Sequence[ObservedScene], examined: int) -> list[int]:
    """Columns that surprise, of each frame after the first."""
    surprised = []
    monkeypatch.setattr(genie.surprise, "EXAMINED", examined)

    def both(seen: GateInput, expected: ColumnFacts) -> tuple[torch.Tensor, torch.Tensor]:
        (words, small), plain = surprise(seen, expected), plain_surprise(seen, expected)
        torch.testing.assert_close(small, plain[1])
        assert (words >= plain[0]).all(), "something is hidden"
        if float(seen.continues) > 0:
            torch.testing.assert_close(words, plain[0])
            surprised.append(int((words > 0).sum()))
        return words, small

    monkeypatch.setattr("genie.gate.surprise", both)
    GateLoop().run(scenes)
    return surprised


def test_a_first_look_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    surprised = check_it_agrees(monkeypatch, drive(), genie.surprise.EXAMINED)
    assert len(surprised) == 7 and 0 < max(surprised) < N


def test_fake_a_first_look_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        check_it_agrees(monkeypatch, drive(), 1)


def test_what_is_left_unexamined_counts_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """More in doubt than can be examined: nothing that surprises is hidden."""
    monkeypatch.setattr(genie.surprise, "EXAMINED", 8)
    hidden = []

    def both(seen: GateInput, expected: ColumnFacts) -> tuple[torch.Tensor, torch.Tensor]:
        words, small = surprise(seen, expected)
        hidden.append(int((words < plain_surprise(seen, expected)[0]).sum()))
        return words, small

    monkeypatch.setattr("genie.gate.surprise", both)
    GateLoop().run(drive())
    assert len(hidden) == 8 and not any(hidden)
