"""Velocity, acceleration and turn rate along a planar trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_STEP_S = 0.25


@dataclass(frozen=True)
class Kinematics:
    """Along a trajectory of H points, float64 [H] each, in the frame of the vehicle at that point.

    longitudinal, lateral: m/s. acceleration: m/s^2, of the longitudinal velocity. heading_rate: rad/s.
    """

    longitudinal: NDArray[np.float64]
    lateral: NDArray[np.float64]
    acceleration: NDArray[np.float64]
    heading_rate: NDArray[np.float64]


def kinematics_of(trajectory: NDArray[np.floating], times_s: NDArray[np.floating]) -> Kinematics:
    """Finite differences of second order, at the ends too.

    Args:
        trajectory: [H, 3], x (m), y (m), yaw (rad) in the ego frame at time 0.
        times_s: [H], increasing. The ego frame itself is the point before the first, unless that is so near (or past)
            that an error of position would look like speed.
    """
    points, times = np.asarray(trajectory, dtype=np.float64), np.asarray(times_s, dtype=np.float64)
    added = int(times[0] >= MIN_STEP_S)
    if added:
        points, times = np.vstack([np.zeros(3), points]), np.concatenate([[0.0], times])
    if len(times) < 2:
        zero = np.zeros(len(times_s))
        return Kinematics(zero, zero, zero, zero)
    yaw = np.unwrap(points[:, 2])

    def rate(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.gradient(values, times, edge_order=2 if len(times) > 2 else 1))

    vx, vy = rate(points[:, 0]), rate(points[:, 1])
    longitudinal = np.cos(yaw) * vx + np.sin(yaw) * vy
    lateral = -np.sin(yaw) * vx + np.cos(yaw) * vy
    return Kinematics(
        longitudinal=longitudinal[added:],
        lateral=lateral[added:],
        acceleration=rate(longitudinal)[added:],
        heading_rate=rate(yaw)[added:],
    )
