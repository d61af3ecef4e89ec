"""The metric against tables counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from perception.metrics import class_iou, confusion_table, mean_iou, occupied_iou
from perception.types import CLASS_NAMES, FREE, GRID, NUM_CLASSES

CAR, ROAD, BUS = (CLASS_NAMES.index(n) for n in ("car", "driveable_surface", "bus"))


def by_hand() -> np.ndarray:
    """Truth: 4 car, 10 road. Forecast: 3 of the cars right and 1 lost, 1 car too many on the road, and a bus of 2
    that is not there."""
    table = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    table[CAR, CAR], table[CAR, FREE] = 3, 1
    table[ROAD, ROAD], table[ROAD, CAR] = 9, 1
    table[FREE, BUS], table[FREE, FREE] = 2, 84
    return table


def test_counts_pairs_as_counted_by_hand() -> None:
    truth = np.full(100, FREE, np.uint8)
    truth[:4], truth[4:14] = CAR, ROAD
    forecast = truth.copy()
    forecast[0], forecast[4], forecast[20:22] = FREE, CAR, BUS
    np.testing.assert_array_equal(confusion_table(truth, forecast), by_hand())


def test_equals_the_plain_count_on_a_full_grid() -> None:
    rng = np.random.default_rng(0)
    truth, forecast = (rng.integers(0, NUM_CLASSES, GRID.shape).astype(np.uint8) for _ in range(2))
    plain = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    np.add.at(plain, (truth.ravel(), forecast.ravel()), 1)
    np.testing.assert_array_equal(confusion_table(truth, forecast), plain)


def test_a_region_and_its_complement_add_up_to_everywhere() -> None:
    rng = np.random.default_rng(1)
    truth, forecast = (rng.choice([CAR, ROAD, FREE, FREE], (20, 20, 4)).astype(np.uint8) for _ in range(2))
    region = rng.random(truth.shape) < 0.3
    inside, outside = confusion_table(truth, forecast, region), confusion_table(truth, forecast, ~region)
    assert inside.sum() == region.sum()
    np.testing.assert_array_equal(inside + outside, confusion_table(truth, forecast))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_table(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_iou_by_hand() -> None:
    iou = class_iou(by_hand())
    assert iou[CAR].value == pytest.approx(3 / 5)  # 3 right, 1 lost, 1 too many
    assert iou[ROAD].value == pytest.approx(9 / 10)
    # 13 occupied voxels are found occupied, one is lost, two are invented.
    assert occupied_iou(by_hand()).value == pytest.approx(13 / 16)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("present", (3 / 5 + 9 / 10) / 2),  # the two classes with ground truth
        ("occworld", (3 / 5 + 9 / 10 + 15) / 17),  # 15 absent classes count as 1, the invented bus too
        ("i2world", (3 / 5 + 9 / 10) / 2),  # the bus has IoU 0 and is dropped
    ],
)
def test_conventions_by_hand(convention: str, expected: float) -> None:
    assert mean_iou(by_hand(), convention).value == pytest.approx(expected)


@pytest.mark.parametrize(("convention", "expected"), [("present", 0.3), ("occworld", 15.6 / 17), ("i2world", 0.6)])
def test_conventions_differ_on_a_present_class_that_is_missed_altogether(convention: str, expected: float) -> None:
    table = by_hand()
    table[ROAD] = 0
    table[ROAD, FREE] = 10  # road: IoU 0, though it is there
    table[FREE, CAR] = 1
    assert mean_iou(table, convention).value == pytest.approx(expected)


def test_nothing_to_judge_is_not_a_zero() -> None:
    nothing = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    only_free = nothing.copy()
    only_free[FREE, FREE] = 7
    for score in (mean_iou(nothing), mean_iou(only_free), occupied_iou(only_free), class_iou(by_hand())[0]):
        assert not score.valid
        assert score.percent is None


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(ValueError, match="present, occworld, i2world"):
        mean_iou(by_hand(), "best")
