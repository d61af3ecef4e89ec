"""The moving region: where something travels, so that moving content can be scored apart from what stands.

A voxel of the target frame is in it if it lies inside the box (grown by 0.2 m) of an instance faster than 0.5 m/s,
where that instance is at the time of the forecast or where it is at the target.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from genie.boxes import mask_of_boxes
from genie.data.tracks import Boxes
from perception.types import GRID

MOVING_ABOVE_MPS = 0.5
MARGIN_M = 0.2


def moving_boxes(boxes: Boxes) -> Boxes:
    """Those faster than 0.5 m/s by the tables' velocity; an unknown velocity (NaN) counts as standing."""
    return boxes.select(np.linalg.norm(boxes.velocity_world, axis=1) > MOVING_ABOVE_MPS)


def moving_region(moving: Iterable[Boxes], target_from_world: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool [200, 200, 16] in the target's ego frame.

    Args:
        moving: `moving_boxes` at the present and at the target.
        target_from_world: float64 [4, 4].
    """
    region = np.zeros(GRID.shape, bool)
    for boxes in moving:
        region |= mask_of_boxes(boxes, target_from_world, margin=MARGIN_M)
    return region
