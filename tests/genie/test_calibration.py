"""Expected calibration error: zero for what is as sure as it is right, and as large as it is wrong about that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genie.data.sequence import Sequence
from genie.evaluation.calibration import BINS, CalibrationCount, right_of_columns
from genie.evaluation.rollout import WindowResult
from genie.forecaster import ForecastResult
from perception.types import CLASS_NAMES, FREE, GRID, HORIZONS_S

CAR, ROAD = CLASS_NAMES.index("car"), CLASS_NAMES.index("driveable_surface")
RIGHT = np.array([0.95, 0.8, 0.65, 0.5, 0.35, 0.2])  # share of the shown voxels that is right, by horizon


def window(said: np.ndarray | None) -> WindowResult:
    """100 x 100 cells of road are forecast, some are cars in truth; said: by horizon."""
    rng = np.random.default_rng(0)
    semantics = np.full((len(HORIZONS_S), *GRID.shape), FREE, np.uint8)
    semantics[:, 40:140, 60:160, 2] = ROAD
    truth = np.where(rng.random(semantics.shape) < RIGHT[:, None, None, None], semantics, np.uint8(CAR))
    horizons = len(HORIZONS_S)
    sequence = Sequence(
        "scene-0001", truth, np.arange(horizons) * 500_000, np.tile(np.eye(4), (horizons, 1, 1)), Path("nowhere")
    )
    confidence = None if said is None else np.broadcast_to(said[:, None, None], (horizons, 50, 50)).astype(np.float32)
    forecast = ForecastResult(semantics, np.tile(np.eye(4), (horizons, 1, 1)), confidence=confidence)
    return WindowResult(sequence, 0, HORIZONS_S, forecast, tuple(range(horizons)), None)


def test_as_sure_as_right_is_no_error() -> None:
    count = CalibrationCount()
    count.add(window(RIGHT))
    assert count.result().error() < 0.005
    curve = count.result().curve()
    assert [round(said, 3) for said, _, _ in curve] == sorted(RIGHT)
    assert sum(share for *_, share in curve) == pytest.approx(1.0)


def test_too_sure_by_a_tenth_is_an_error_of_a_tenth() -> None:
    count = CalibrationCount()
    count.add(window(RIGHT - 0.1))
    assert count.result().error() == pytest.approx(0.1, abs=0.005)
    assert count.result().error(horizon=2) == pytest.approx(0.1, abs=0.01)


def test_fake_the_mean_for_everything_is_not_calibrated_at_each_horizon() -> None:
    count = CalibrationCount()
    count.add(window(np.full(6, RIGHT.mean())))
    assert count.result().error() < 0.01, "pooled, it is right on average"
    assert count.result().error(horizon=0) > 0.3


def test_certainty_is_in_the_last_bin_and_free_columns_do_not_count() -> None:
    count = CalibrationCount()
    count.add(window(np.ones(6)))
    shown = count.result().shown
    assert shown[:, BINS - 1] == pytest.approx(10_000.0) and shown.sum() == 60_000


def test_columns_are_those_of_the_grid() -> None:
    forecast, truth = (np.full(GRID.shape, FREE, np.uint8) for _ in range(2))
    forecast[4:8, 196:200, 3] = CAR
    truth[4:6, 196:200, 3] = CAR
    shown, right = right_of_columns(forecast, truth)
    assert (shown[1 * 50 + 49], right[1 * 50 + 49]) == (16, 8)
    assert (shown.sum(), right.sum()) == (16, 8)


def test_a_forecast_without_confidence_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        CalibrationCount().add(window(None))
