"""The ground as a camera sees it: smooth borders between its classes, and the paint on the road."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from genie.data.synth.sampling import Floats, bilinear
from genie.data.synth.scenery import CELL, FLAT, ROAD, SIDEWALK, Scenery

CELLS_PER_M = 10  # of the paint


class Cover(NamedTuple):
    """Shares of road, of other flat ground and of sidewalk around points [n], 0..1; the rest is terrain."""

    road: Floats
    flat: Floats
    sidewalk: Floats


class GroundMap:
    """Rasters of uint8, 0..255, made once per scene."""

    def __init__(self, scenery: Scenery) -> None:
        # Blurred masks cross one half along smooth curves: borders without the steps of the raster.
        self._cover = [
            cv2.GaussianBlur((scenery.ground == kind).astype(np.uint8) * 255, (7, 7), 1.2)
            for kind in (ROAD, FLAT, SIDEWALK)
        ]
        nx, ny = (round(n * CELL * CELLS_PER_M) for n in scenery.ground.shape)
        self._white, self._yellow = np.zeros((2, nx, ny), np.uint8)
        for marking in scenery.markings:
            image = self._yellow if marking.kind == "centre" else self._white
            points = np.round((marking.polygon[:, ::-1] * CELLS_PER_M - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(image, [points], (255,), lineType=cv2.LINE_AA, shift=4)

    def cover(self, xy: NDArray[np.floating]) -> Cover:
        """At points [n, 2] (m)."""
        return Cover(*(_at(image, xy, 1 / CELL) for image in self._cover))

    def white(self, xy: NDArray[np.floating]) -> Floats:
        """Cover by white paint, 0..1, at points [n, 2] (m)."""
        return _at(self._white, xy, CELLS_PER_M)

    def yellow(self, xy: NDArray[np.floating]) -> Floats:
        """Cover by yellow paint, 0..1, at points [n, 2] (m)."""
        return _at(self._yellow, xy, CELLS_PER_M)


def _at(image: NDArray[np.uint8], xy: NDArray[np.floating], per_m: float) -> Floats:
    cell = (xy * per_m - 0.5).astype(np.float32)
    return bilinear(image, cell[:, 0], cell[:, 1]).astype(np.float32) / np.float32(255)
