"""Looking up many points in a raster, and noise to look up."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_WIDTH = 4096  # OpenCV remaps images of less than 32768 columns
NOISE_SIZE = 512


def bilinear(image: NDArray[np.uint8] | Floats, row: Floats, column: Floats, *, wrap: bool = False) -> Floats:
    """Values [n] of a raster [h, w] between its pixels; 0 outside, or repeated in both directions."""
    n = len(row)
    height = max(1, -(-n // _WIDTH))
    grid = np.zeros((2, height * _WIDTH), np.float32)
    grid[0, :n], grid[1, :n] = column, row
    if wrap:
        grid %= NOISE_SIZE
    x, y = grid.reshape(2, height, _WIDTH)
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_CONSTANT
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border).reshape(-1)[:n], np.float32)


@cache
def _tile(exponent: float) -> Floats:
    """Noise without seams [NOISE_SIZE, NOISE_SIZE], mean 0, deviation 1, whose amplitude falls with frequency."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(NOISE_SIZE), np.fft.rfftfreq(NOISE_SIZE), indexing="ij"))
    shape = np.where(frequency > 0, 1 / np.maximum(frequency, 1 / NOISE_SIZE) ** exponent, 0)
    white = np.fft.rfft2(np.random.default_rng(7).standard_normal((NOISE_SIZE, NOISE_SIZE)))
    out = np.fft.irfft2(white * shape, s=(NOISE_SIZE, NOISE_SIZE))
    return ((out - out.mean()) / out.std()).astype(np.float32)


def noise(x: Floats, y: Floats, cell: float) -> Floats:
    """Clouds [n]: details from 2 to 512 times `cell` (m), about -2..2."""
    return bilinear(_tile(1.1), x / np.float32(cell), y / np.float32(cell), wrap=True)


def grain(x: Floats, y: Floats, cell: float) -> Floats:
    """Grain [n]: mostly details of a few times `cell` (m), about -2..2."""
    return bilinear(_tile(0.35), x / np.float32(cell), y / np.float32(cell), wrap=True)


def jitter(key: NDArray[np.int64] | NDArray[np.int32]) -> Floats:
    """A number in 0..1 for each integer [n], unlike that of its neighbours."""
    mixed = key.astype(np.uint32) * np.uint32(2654435761)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(2246822519)
    return (mixed >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
