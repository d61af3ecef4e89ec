"""The intelligent driver model: how hard a driver accelerates behind what is ahead.

Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and microscopic simulations" (2000).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.polylines import Array


class Drivers(NamedTuple):
    """accelerate, brake: what is comfortable (m/s2, both positive). headway: s. standstill: m kept when all stand.
    Arrays [n], or picked for one driver each."""

    accelerate: Array
    brake: Array
    headway: Array
    standstill: Array

    def pick(self, who: NDArray[np.integer] | np.integer) -> Drivers:
        return Drivers(*(values[who] for values in self))


def free_road(drivers: Drivers, speed: Array, wanted: Array) -> Array:
    """Acceleration (m/s2) with nothing ahead; no harder than -2.5 for a limit that has dropped."""
    return np.maximum(drivers.accelerate * (1 - np.minimum(speed / np.maximum(wanted, 0.5), 1.8) ** 4), -2.5)


def follow(drivers: Drivers, speed: Array, free: Array, gap: Array, lead_speed: Array) -> Array:
    """Acceleration (m/s2) behind somebody.

    Args:
        free: from `free_road`.
        gap: bumper to bumper (m); inf where nobody is ahead.
        lead_speed: m/s.
    """
    closing = speed * (speed - lead_speed) / (2 * np.sqrt(drivers.accelerate * drivers.brake))
    need = drivers.standstill + np.maximum(0.0, speed * drivers.headway + closing)
    behind = np.minimum(free, drivers.accelerate) - drivers.accelerate * (need / np.maximum(gap, 0.15)) ** 2
    return np.minimum(free, np.where(np.isfinite(gap), behind, np.inf))
