"""What a calibration of a camera rests on, as a picture: where corners were seen, and how far off they are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.intrinsics import Fit

WIDTH = 900  # px of each of the two panels
ENLARGED = 200.0  # residuals, against the image
_INK, _BAR, _LINE = (40, 40, 40), (200, 150, 60), (40, 40, 210)  # BGR


def draw_fit(fit: Fit) -> NDArray[np.uint8]:
    """Two panels, BGR: cells by how many corners they have; a stroke from each corner along its residual."""
    scale = WIDTH / fit.intrinsics.size[0]
    height = round(fit.intrinsics.size[1] * scale)
    counts = fit.coverage.counts
    share = counts / max(int(counts.max()), 1)
    shade = cv2.resize((255 - 150 * share).astype(np.uint8), (WIDTH, height), interpolation=cv2.INTER_NEAREST)
    left = np.stack([np.full_like(shade, 250), shade, shade], axis=-1).astype(np.uint8)
    rows, columns = counts.shape
    for row in range(rows):
        for column in range(columns):
            at = (round((column + 0.35) * WIDTH / columns), round((row + 0.55) * height / rows))
            cv2.putText(left, str(counts[row, column]), at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, _INK, 1, cv2.LINE_AA)
    right = np.full_like(left, 255)
    start = fit.pixels * scale
    end = start + fit.residuals * scale * ENLARGED
    for a, b in zip(np.round(start).astype(int), np.round(end).astype(int), strict=True):
        cv2.line(right, a.tolist(), b.tolist(), _LINE, 1, cv2.LINE_AA)
        cv2.circle(right, a.tolist(), 2, _INK, -1, cv2.LINE_AA)
    tilt = fit.coverage.tilt_deg
    titles = (
        f"corners per cell; {fit.coverage.reached:.0%} reached; tilts {tilt[0]:.0f} and {tilt[1]:.0f} deg",
        f"residuals x {ENLARGED:g}; RMS {fit.rms:.3f} px; {len(fit.errors)} images, {len(fit.dropped)} dropped",
    )
    panels = [_titled(panel, title) for panel, title in zip((left, right), titles, strict=True)]
    return np.hstack([panels[0], np.full((panels[0].shape[0], 8, 3), 255, np.uint8), panels[1]])


def _titled(panel: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    strip = np.full((44, panel.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (10, 29), cv2.FONT_HERSHEY_SIMPLEX, 0.65, _INK, 1, cv2.LINE_AA)
    cv2.rectangle(panel, (0, 0), (panel.shape[1] - 1, panel.shape[0] - 1), _BAR, 1)
    return np.vstack([strip, panel])
