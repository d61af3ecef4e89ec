"""Occupancy seen from above, as coloured images: arrays in, arrays out.

An image has `SCALE` pixels a voxel; forward (x) is up, left (y) is left.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.types import FREE, GRID, GROUND, MOVABLE, NUM_CLASSES

SCALE = 5  # pixels a voxel
Image = NDArray[np.uint8]  # [200 * SCALE, 200 * SCALE, 3], RGB

# The hues of nuScenes; ground and background are paler, so that what drives on it stands out.
CLASS_COLOURS: NDArray[np.uint8] = np.array(
    [
        (0, 0, 0),  # others
        (112, 128, 144),  # barrier
        (220, 20, 60),  # bicycle
        (160, 30, 70),  # bus
        (255, 158, 0),  # car
        (120, 75, 30),  # construction_vehicle
        (255, 61, 130),  # motorcycle
        (20, 40, 230),  # pedestrian
        (47, 79, 79),  # traffic_cone
        (205, 130, 90),  # trailer
        (245, 85, 55),  # truck
        (207, 216, 220),  # driveable_surface
        (178, 150, 170),  # other_flat
        (190, 176, 200),  # sidewalk
        (205, 222, 178),  # terrain
        (214, 190, 156),  # manmade
        (120, 180, 110),  # vegetation
        (255, 255, 255),  # free
    ],
    np.uint8,
)
OUTLINE = (25, 25, 35)

# What the error map says of a column, by what is seen of it from above.
NOTHING, RIGHT_GROUND, RIGHT_STANDING, RIGHT_MOVABLE, MISSED, INVENTED, CONFUSED = range(7)
VERDICT_COLOURS: NDArray[np.uint8] = np.array(
    [
        (255, 255, 255),
        (234, 237, 240),
        (196, 201, 207),
        (46, 160, 67),
        (214, 39, 40),
        (31, 100, 210),
        (240, 185, 60),
    ],
    np.uint8,
)
VERDICT_NAMES = (
    "", "right: ground", "right: standing", "right: can move", "missed", "wrongly there", "another class",
)  # fmt: skip


class TopView(NamedTuple):
    """class_id uint8 [200, 200] of the highest voxel that is not free (FREE: none); level int64 [200, 200], its z."""

    class_id: NDArray[np.uint8]
    level: NDArray[np.int64]


def top_view(semantics: NDArray[np.uint8]) -> TopView:
    """semantics: uint8 [200, 200, 16]."""
    occupied = semantics != FREE
    level = np.where(occupied.any(axis=2), GRID.shape[2] - 1 - occupied[:, :, ::-1].argmax(axis=2), 0)
    return TopView(np.take_along_axis(semantics, level[:, :, None], axis=2)[:, :, 0], level)


def scene_image(semantics: NDArray[np.uint8], truth: NDArray[np.uint8] | None = None) -> Image:
    """Coloured by class, with relief; what can move is outlined. With `truth`, its outlines instead: where it is.

    Args:
        semantics, truth: uint8 [200, 200, 16].
    """
    view = top_view(semantics)
    colour = CLASS_COLOURS[view.class_id] * _relief(view)[:, :, None]
    image = enlarge(np.clip(colour, 0, 255).astype(np.uint8))
    outlined = view if truth is None else top_view(truth)
    return draw_outlines(image, np.isin(outlined.class_id, MOVABLE))


def _relief(view: TopView) -> NDArray[np.float64]:
    """Light from the upper left: a factor for each cell."""
    height = view.level * GRID.voxel_size
    light = np.gradient(height, axis=0) + np.gradient(height, axis=1)  # towards +x (up) and +y (left) it falls away
    return np.asarray(np.clip(1.0 - 0.10 * light, 0.78, 1.12) * np.where(view.class_id == FREE, 1.0, 0.97))


def error_image(truth: NDArray[np.uint8], forecast: NDArray[np.uint8]) -> Image:
    """What is right, missed and wrongly there, seen from above."""
    return enlarge(VERDICT_COLOURS[verdicts(truth, forecast)])


def verdicts(truth: NDArray[np.uint8], forecast: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [200, 200]: how the tops of the columns compare.

    Free is below ground is below all that stands: lower than in truth is missed, higher is wrongly there; of the same
    rank but another class is a confusion.
    """
    wanted, found = top_view(truth).class_id, top_view(forecast).class_id
    rank = np.full(NUM_CLASSES, 2)
    rank[list(GROUND)], rank[FREE] = 1, 0
    right = np.full(NUM_CLASSES, RIGHT_STANDING)
    right[list(GROUND)], right[list(MOVABLE)], right[FREE] = RIGHT_GROUND, RIGHT_MOVABLE, NOTHING
    wrong = np.select([rank[found] < rank[wanted], rank[found] > rank[wanted]], [MISSED, INVENTED], CONFUSED)
    return np.where(wanted == found, right[wanted], wrong).astype(np.uint8)


def enlarge(cells: NDArray[np.uint8]) -> Image:
    """[X, Y, 3], x forward and y left, as an image with forward up and left left."""
    return np.ascontiguousarray(cells[::-1, ::-1].repeat(SCALE, axis=0).repeat(SCALE, axis=1))


def draw_outlines(image: Image, mask: NDArray[np.bool_]) -> Image:
    """The borders of the regions of a mask [X, Y], drawn just outside of them."""
    big = enlarge(mask[:, :, None].astype(np.uint8))[:, :, 0]
    border = cv2.dilate(big, np.ones((5, 5), np.uint8)) > big
    image[border] = OUTLINE
    return image
