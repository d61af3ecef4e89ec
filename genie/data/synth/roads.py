"""A road: a centre line and a cross-section.

Lateral offsets are positive to the left of the direction a -> b.
`hand` is +1 where traffic keeps right and -1 where it keeps left (nuScenes has both: Boston and Singapore).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from genie.data.synth.polylines import Array, unit


@dataclass
class Road:
    """A road from junction `a` to junction `b`. "fwd" is the side of the traffic a -> b, "bwd" the other one."""

    a: int
    b: int
    centre: Array  # [n, 2], 1 m apart
    lanes: dict[str, int]
    lane_width: float
    median: float
    strip: dict[str, float]  # m of parking strip, 0 where there is none
    sidewalk: float
    limit: float  # m/s
    hand: int
    trim_a: float = 0.0  # m of the centre line that belong to the junction
    trim_b: float = 0.0
    crossing: float | None = None  # arc length of a crossing between the junctions
    length: float = field(init=False)

    def __post_init__(self) -> None:
        self.length = float(np.linalg.norm(np.diff(self.centre, axis=0), axis=1).sum())
        tangent = np.gradient(self.centre, axis=0)
        self._heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        self._s = np.linspace(0.0, self.length, len(self.centre))

    def sign(self, side: str) -> int:
        """Which way that side lies of the centre line: +1 left, -1 right."""
        return -self.hand if side == "fwd" else self.hand

    def lane_lateral(self, side: str, k: int) -> float:
        """Lateral position of the centre of lane `k`, counted from the median."""
        return self.sign(side) * (self.median / 2 + (k + 0.5) * self.lane_width)

    def kerb(self, side: str) -> float:
        """m from the centre line to the kerb on that side."""
        return self.median / 2 + self.lanes[side] * self.lane_width + self.strip[side]

    def widest(self) -> float:
        return max(self.kerb("fwd"), self.kerb("bwd"))

    def frame(self, s: Array | float, lateral: Array | float) -> tuple[Array, Array]:
        """Points [..., 2] and headings [...] at arc length and lateral offset (m)."""
        s = np.asarray(s, dtype=np.float64)
        heading = np.interp(s, self._s, self._heading)
        centre = np.stack([np.interp(s, self._s, self.centre[:, 0]), np.interp(s, self._s, self.centre[:, 1])], -1)
        return centre + np.asarray(lateral)[..., None] * unit(heading + np.pi / 2), heading

    def offset(self, lateral: float, s0: float, s1: float) -> Array:
        """The line at `lateral` (m) between two arc lengths, [n, 2]."""
        return self.frame(np.linspace(s0, s1, max(2, int(abs(s1 - s0)) + 1)), lateral)[0]

    def band(self, inner: float, outer: float, s0: float, s1: float) -> Array:
        """The polygon between two lateral offsets, [n, 2]."""
        return np.concatenate([self.offset(inner, s0, s1), self.offset(outer, s0, s1)[::-1]])

    def end(self, node: int) -> tuple[float, float]:
        """Arc length of the stop line at that junction, and the heading of the road leaving the junction."""
        if node == self.a:
            return self.trim_a, float(self._heading[0])
        return self.length - self.trim_b, float(self._heading[-1] + np.pi)
