"""Confusion tables and what is read off them: IoU per class, mIoU under three published conventions, occupied IoU.

One confusion table per horizon is summed over a whole data set; scores are read off the sum, never averaged over
frames. Every score carries its validity, so that missing data cannot be averaged in as a zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from perception.types import FREE, NUM_CLASSES

# Which classes (0-16) the mean runs over.
#   present   those with ground truth. The default: on small sets the other two move the score by several points.
#   occworld  all 17; one without ground truth counts as IoU 1 (OccWorld, DOME).
#   i2world   those whose IoU is not exactly 0 (I2-World, GenieDrive of arXiv 2512.12751).
Convention = Literal["present", "occworld", "i2world"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)

ConfusionTable = NDArray[np.int64]  # [18, 18], rows: truth, columns: forecast


@dataclass(frozen=True)
class Score:
    """value in [0, 1]; NaN, and `valid` false, where the data cannot tell."""

    value: float
    valid: bool

    @property
    def percent(self) -> float | None:
        """In percent, or None where it is not valid."""
        return 100.0 * self.value if self.valid else None


UNKNOWN = Score(math.nan, False)


def _ratio(numerator: float, denominator: float) -> Score:
    return Score(float(numerator / denominator), True) if denominator else UNKNOWN


def confusion_table(
    truth: NDArray[np.uint8], forecast: NDArray[np.uint8], region: NDArray[np.bool_] | None = None
) -> ConfusionTable:
    """Counts of (truth, forecast) pairs, int64 [18, 18].

    Args:
        truth, forecast: class ids 0..17, of equal shape.
        region: bool, same shape: count only there.
    """
    if truth.shape != forecast.shape:
        raise ValueError(f"truth {truth.shape} and forecast {forecast.shape} differ in shape")
    if region is not None:
        truth, forecast = truth[region], forecast[region]
    # Most voxels are free in both; those are counted by subtraction.
    told = np.flatnonzero((truth != FREE).ravel() | (forecast != FREE).ravel())
    pairs = truth.ravel()[told].astype(np.uint16) * NUM_CLASSES + forecast.ravel()[told]
    table = np.bincount(pairs, minlength=NUM_CLASSES * NUM_CLASSES).reshape(NUM_CLASSES, NUM_CLASSES).astype(np.int64)
    table[FREE, FREE] += truth.size - len(told)
    return table


def class_iou(table: ConfusionTable) -> list[Score]:
    """IoU of classes 0..16; not valid where the class has no ground truth."""
    hits, present = np.diag(table)[:FREE], table.sum(axis=1)[:FREE]
    union = present + table.sum(axis=0)[:FREE] - hits
    return [_ratio(h, u if p else 0) for h, u, p in zip(hits, union, present, strict=True)]


def mean_iou(table: ConfusionTable, convention: Convention = "present") -> Score:
    """mIoU over classes 0..16 under a named convention; not valid where the mean runs over no class."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention {convention!r}: expected one of {', '.join(CONVENTIONS)}")
    if not table.sum():
        return UNKNOWN
    present = table.sum(axis=1)[:FREE] > 0
    iou = np.array([score.value for score in class_iou(table)])
    if convention == "occworld":
        values = np.where(present, iou, 1.0)
    elif convention == "i2world":
        values = iou[np.nan_to_num(iou) > 0]
    else:
        values = iou[present]
    return _ratio(values.sum(), len(values))


def occupied_iou(table: ConfusionTable) -> Score:
    """IoU of occupied (anything but free) against free."""
    hits = table[:FREE, :FREE].sum()
    return _ratio(hits, table.sum() - table[FREE, FREE])
