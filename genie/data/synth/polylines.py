"""Curves in the plane: resampling, Bezier arcs, and many polylines evaluated at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def resample(points: Array, spacing: float) -> Array:
    """A polyline [n, 2] at equal steps of about `spacing` (m), ends kept."""
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(2, round(s[-1] / spacing) + 1)
    at = np.linspace(0.0, s[-1], count)
    return np.stack([np.interp(at, s, points[:, 0]), np.interp(at, s, points[:, 1])], axis=1)


def bezier(p0: Array, p1: Array, p2: Array, p3: Array, count: int = 48) -> Array:
    t = np.linspace(0.0, 1.0, count)[:, None]
    return (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3


def unit(angle: float | Array) -> Array:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


class Polylines:
    """Many polylines, evaluated together at arc lengths: the vectorised heart of the traffic simulation."""

    def __init__(self, lines: list[Array], spacing: float = 0.5) -> None:
        sampled = [resample(line, spacing) for line in lines]
        self.counts = np.array([len(p) for p in sampled])
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        self.lengths = np.array([np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in sampled])
        self.points = np.concatenate(sampled)
        headings, bends = [], []
        for p, length in zip(sampled, self.lengths, strict=True):
            tangent = np.gradient(p, axis=0)
            heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
            headings.append(heading)
            bends.append(np.abs(np.gradient(heading)).max() * (len(p) - 1) / length)
        self.headings = np.concatenate(headings)
        self.radii = 1.0 / np.maximum(
            1e-3, np.array(bends)
        )  # m, of the tightest bend of each line: it bounds the speed

    def at(self, line: NDArray[np.int64], s: Array) -> tuple[Array, Array]:
        """Points [..., 2] and headings [...] of lines at arc lengths `s` (m); beyond the ends: straight on."""
        u = np.clip(s / self.lengths[line], 0.0, 1.0) * (self.counts[line] - 1)
        low = np.minimum(u.astype(np.int64), self.counts[line] - 2)
        f = u - low
        i = self.starts[line] + low
        heading = self.headings[i] * (1 - f) + self.headings[i + 1] * f
        point = self.points[i] * (1 - f)[..., None] + self.points[i + 1] * f[..., None]
        beyond = s - np.clip(s, 0.0, self.lengths[line])
        return point + beyond[..., None] * unit(heading), heading

    def line(self, index: int) -> Array:
        return self.points[self.starts[index] : self.starts[index] + self.counts[index]]
