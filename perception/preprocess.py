"""From what a sensor delivers to what the network reads: the one implementation, for training, evaluation and the car.

Images: resized to the network's width, rows above the horizon cut off, intrinsics carried along, colours normalised.
Sweeps: returns of the ego vehicle and of nothing removed. numpy and OpenCV alone: the car needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Intrinsics
from calib.transforms import Array, apply

# Of ImageNet, red, green, blue in [0, 1]: what torchvision's weights were trained with.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# The ego vehicle in its own frame (m): what a lidar on its roof sees of it, and its empty returns, lie in here.
EGO_LOW, EGO_HIGH = np.array([-1.2, -1.1]), np.array([3.4, 1.1])
FARTHEST = 100.0  # m from the sensor; beyond, an echo is noise


@dataclass(frozen=True)
class ImagePlan:
    """How images of one camera become the network's.

    native: width and height (px) of what the camera delivers. resized: after scaling. cut: rows then taken off the top.
    intrinsics: of the result.
    """

    native: tuple[int, int]
    resized: tuple[int, int]
    cut: int
    intrinsics: Intrinsics


def plan_images(intrinsics: Intrinsics, width: int, height: int) -> ImagePlan:
    """A plan to `width` x `height` (px) that keeps the aspect ratio and the lower rows: above is mostly sky.

    Args:
        intrinsics: of the native image.

    Raises:
        InputError: the resized image would have fewer rows than `height`.
    """
    native = intrinsics.size
    resized = (width, round(native[1] * width / native[0]))
    cut = resized[1] - height
    if cut < 0:
        raise InputError(
            f"images of {native[0]} x {native[1]} px become {resized[0]} x {resized[1]} px",
            expected=f"at least {height} rows at a width of {width} px",
            fix="choose a smaller model.image_height, or cameras of another aspect ratio",
        )
    scaled = intrinsics.scaled(resized)
    centre = (scaled.centre[0], scaled.centre[1] - cut)
    return ImagePlan(native, resized, cut, replace(scaled, size=(width, height), centre=centre))


def resize_image(image: NDArray[np.uint8], plan: ImagePlan) -> NDArray[np.uint8]:
    """BGR of the native size -> BGR of the network's, uint8 [height, width, 3].

    Raises:
        InputError: the image has another size than the camera's intrinsics.
    """
    if image.ndim != 3 or (image.shape[1], image.shape[0]) != plan.native or image.shape[2] != 3:
        raise InputError(
            f"an image {list(image.shape)}",
            expected=f"BGR [{plan.native[1]}, {plan.native[0]}, 3], as the intrinsics say",
            fix="use the intrinsics of these images, or scale them (calib.rig.Intrinsics.scaled)",
        )
    # The mean over each target pixel: other filters alias when shrinking.
    resized = cv2.resize(image, plan.resized, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(resized[plan.cut :])


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """BGR [..., height, width, 3] -> normalised RGB float32 [..., 3, height, width]."""
    rgb = images[..., ::-1].astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(np.moveaxis((rgb - MEAN) / DEVIATION, -1, -3))


class Returns(NamedTuple):
    """points: float64 [n, 3] (m, ego frame of the sweep). intensity: float32 [n], 0..255. rows: int64 [n], of the
    sweep."""

    points: Array
    intensity: NDArray[np.float32]
    rows: NDArray[np.int64]


def clean_returns(points: NDArray[np.float32], ego_from_sensor: Array) -> Returns:
    """What a sweep met outside the ego vehicle.

    Args:
        points: float32 [n, 4 or more]: x, y, z (m, sensor frame), intensity 0..255. Beams without an echo have range 0.
    """
    if points.ndim != 2 or points.shape[1] < 4:
        raise InputError(
            f"a sweep {list(points.shape)}",
            expected="[n, 4 or more]: x, y, z, intensity",
            fix="read it with calib.tables.read_sweep",
        )
    sensor = points[:, :3].astype(np.float64)
    ego = apply(ego_from_sensor, sensor)
    own = ((ego[:, :2] > EGO_LOW) & (ego[:, :2] < EGO_HIGH)).all(1)
    range2 = (sensor**2).sum(1)
    rows = np.flatnonzero(~own & (range2 <= FARTHEST**2) & (range2 > 0))  # NaN compares false
    return Returns(ego[rows], points[rows, 3].astype(np.float32), rows)
