"""A camera of the rig: rays through its lens, and what its sensor makes of the light."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from genie.data.synth.sampling import Floats
from genie.data.synth.sensors import IMAGE_SIZE, RECTIFIED, Mount

EXPOSURE = 0.80
READ_NOISE, SHOT_NOISE = 0.0022, 0.0042  # of white
VIGNETTING = 0.22  # share of light that is lost in the corners
BLUR = 0.45  # px, of the lens


class View(NamedTuple):
    """Rays of an image: directions float32 [h * w, 3], unit, sensor frame, row by row. spread: rad between pixels.
    brightness: float32 [h * w], what vignetting leaves."""

    height: int
    width: int
    directions: Floats
    spread: float
    brightness: Floats


@cache
def view(mount: Mount, scale: float) -> View:
    """The rays of `mount` in an image of 1600 x 900 times `scale`."""
    width, height = (round(n * scale) for n in IMAGE_SIZE)
    u, v = np.meshgrid((np.arange(width) + 0.5) * IMAGE_SIZE[0] / width - 0.5,
                       (np.arange(height) + 0.5) * IMAGE_SIZE[1] / height - 0.5)  # fmt: skip
    pixels = np.stack([u, v], -1).reshape(-1, 2)
    intrinsic = np.array(mount.intrinsic)
    if mount.lens == RECTIFIED:
        plane = (pixels - intrinsic[:2, 2]) / intrinsic[[0, 1], [0, 1]]
    else:
        plane = cv2.undistortPoints(pixels[:, None], intrinsic, np.array(mount.lens))[:, 0]
    rays = np.column_stack([plane, np.ones(len(plane))])
    directions = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
    radius2 = ((pixels - np.array(IMAGE_SIZE) / 2) ** 2).sum(1) / (np.array(IMAGE_SIZE) ** 2).sum() * 4
    brightness = (1 - VIGNETTING * radius2).astype(np.float32)
    return View(height, width, directions, float(IMAGE_SIZE[0] / width / intrinsic[0, 0]), brightness)


def project(mount: Mount, scale: float, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels [n, 2] of points [n, 3] in the sensor frame, all before the camera, in the image of that scale."""
    size = np.array([round(n * scale) for n in IMAGE_SIZE])
    lens = np.array(mount.lens, dtype=np.float64)
    full = cv2.projectPoints(points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), np.array(mount.intrinsic), lens)[0]
    return (full.reshape(-1, 2) + 0.5) * size / np.array(IMAGE_SIZE) - 0.5


@cache
def _curve() -> NDArray[np.uint8]:
    """Light 0..2 in 4096 steps -> level: gamma, with a shoulder for the highlights."""
    light = np.arange(4096) / 2048
    knee = np.where(light < 0.6, light, 0.6 + 0.4 * (1 - np.exp(-(light - 0.6) / 0.4)))
    encoded = np.where(knee < 0.0031308, 12.92 * knee, 1.055 * knee ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = np.clip(np.round(encoded * 255), 0, 255).astype(np.uint8)
    return levels


def develop(shot: View, light: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Linear colours [h * w, 3] (red, green, blue) -> BGR [h, w, 3]: vignetting, noise, blur, tone curve."""
    exposed = (light * (shot.brightness[:, None] * np.float32(EXPOSURE))).reshape(shot.height, shot.width, 3)
    image: Floats = np.asarray(cv2.GaussianBlur(exposed, (3, 3), BLUR), np.float32)
    # Two dice: nearly a bell, and much cheaper.
    dice = rng.integers(0, 256, (2, *image.shape), dtype=np.uint8).astype(np.float32)
    bell = (dice[0] + dice[1] - np.float32(255)) * np.float32(1 / 104.3)
    image += bell * (np.float32(READ_NOISE) + np.float32(SHOT_NOISE) * np.sqrt(np.maximum(image, 0)))
    levels = _curve()[np.clip(image * 2048, 0, 4095).astype(np.int32)]
    return np.ascontiguousarray(levels[..., ::-1])
