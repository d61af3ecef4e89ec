"""The paint on the road as a raster: how much of a place is covered."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from genie.data.synth.scenery import CELL, Scenery
from genie.data.synth.tracer import Floats

CELLS_PER_M = 10


class PaintMap:
    """Cover by white and by yellow paint, uint8 [nx, ny] of 0.1 m each; 0..1 when asked."""

    def __init__(self, scenery: Scenery) -> None:
        nx, ny = (round(n * CELL * CELLS_PER_M) for n in scenery.ground.shape)
        self._white, self._yellow = np.zeros((2, nx, ny), np.uint8)
        for marking in scenery.markings:
            image = self._yellow if marking.kind == "centre" else self._white
            points = np.round((marking.polygon[:, ::-1] * CELLS_PER_M - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(image, [points], (255,), lineType=cv2.LINE_AA, shift=4)

    def white(self, xy: NDArray[np.float64]) -> Floats:
        """[n] of points [n, 2] (m)."""
        return _bilinear(self._white, xy)

    def yellow(self, xy: NDArray[np.float64]) -> Floats:
        """[n] of points [n, 2] (m)."""
        return _bilinear(self._yellow, xy)


def _bilinear(image: NDArray[np.uint8], xy: NDArray[np.float64]) -> Floats:
    at = (xy[:, ::-1] * CELLS_PER_M - 0.5).astype(np.float32)
    if not len(at):
        return np.zeros(0, np.float32)
    out: Floats = cv2.remap(image, at[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)[0]
    return out.astype(np.float32) / 255
