"""Time: which measurements belong together, where the car was in between, and by how much two clocks differ."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, inverse, quaternion_from_rotation

Pose = NDArray[np.float64]  # [4, 4], target_from_source
GRID_S, STEP_S = 0.005, 0.02  # of the search for an offset, and over which a slope is taken
MIN_CORRELATION = 0.9  # below, the two do not show the same motion
MAX_SIGMA_S = 0.001  # above, the car hardly turned: straight on, every offset fits
MIN_OVERLAP_S = 4.0
SLOW_S = 6.0


def interpolate_pose(first: Pose, second: Pose, fraction: float) -> Pose:
    """The pose `fraction` (0..1) of the way: the translation linear, the rotation about one fixed axis."""
    if fraction <= 0.0:
        return first
    if fraction >= 1.0:
        return second
    out = np.eye(4)
    out[:3, 3] = (1 - fraction) * first[:3, 3] + fraction * second[:3, 3]
    w, *axis = quaternion_from_rotation(first[:3, :3].T @ second[:3, :3])
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:
        out[:3, :3] = first[:3, :3]
        return out
    x, y, z = np.asarray(axis) / sine
    angle = fraction * 2 * np.arctan2(sine, w)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)  # Rodrigues
    out[:3, :3] = first[:3, :3] @ turn
    return out


def pair_stamps(first_us: NDArray[np.int64], second_us: NDArray[np.int64], tolerance_us: int) -> NDArray[np.int64]:
    """Indices [n, 2] of stamps that are each other's nearest and at most `tolerance_us` apart; both sorted, ascending.

    No stamp is used twice.
    """
    first_us, second_us = np.asarray(first_us, dtype=np.int64), np.asarray(second_us, dtype=np.int64)
    if not len(first_us) or not len(second_us):
        return np.empty((0, 2), dtype=np.int64)
    there, back = _nearest(first_us, second_us), _nearest(second_us, first_us)
    own = np.arange(len(first_us))
    paired = (back[there] == own) & (np.abs(second_us[there] - first_us) <= tolerance_us)
    return np.column_stack([own[paired], there[paired]])


def _nearest(of: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    after = np.clip(np.searchsorted(among, of), 1, len(among) - 1) if len(among) > 1 else np.zeros(len(of), np.int64)
    before = np.maximum(after - 1, 0)
    return np.where(of - among[before] <= among[after] - of, before, after)


class Turns(NamedTuple):
    """How far a sensor has turned since its first stamp: [n, 3] (rad, about the axes of one frame that both sensors'
    turns are told in) at times [n] (s)."""

    times: Array
    angles: Array

    def seen_from(self, ego_from_sensor: Array) -> Turns:
        """About the ego's axes, of a sensor that is mounted so."""
        return Turns(self.times, self.angles @ ego_from_sensor[:3, :3].T)


def turns_of_poses(times: Array, world_from_body: Array) -> Turns:
    """From poses [n, 4, 4]: a lidar's or a camera's odometry as well as the car's."""
    steps = inverse(world_from_body[:-1]) @ world_from_body[1:]
    vectors = [np.asarray(cv2.Rodrigues(step[:3, :3])[0]).ravel() for step in steps]
    return Turns(np.asarray(times), np.concatenate([np.zeros((1, 3)), np.cumsum(vectors, axis=0)]))


def turns_of_rates(times: Array, rates: Array) -> Turns:
    """From angular rates [n, 3] (rad/s): a gyroscope's."""
    steps = (rates[:-1] + rates[1:]) / 2 * np.diff(times)[:, None]
    return Turns(np.asarray(times), np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)]))


class TimeOffset(NamedTuple):
    """seconds: to be added to the second sensor's stamps to have them on the first one's clock. sigma: its standard
    deviation (s). correlation: of the two at that offset, -1 to 1. valid: whether the motion sufficed to tell."""

    seconds: float
    sigma: float
    correlation: float
    valid: bool


def estimate_offset(first: Turns, second: Turns, max_offset_s: float = 0.25) -> TimeOffset:
    """By how much the second sensor's clock is behind the first one's: the shift at which they have turned alike.

    What was turned is compared, not how fast: the noise of a pose is white in the angle, and would be a hundred times
    stronger in the differences. What changes over more than SLOW_S is left out: where each began, and how their
    angles drift apart (a gyroscope's bias and scale).
    """
    start, end = first.times[0] + max_offset_s, first.times[-1] - max_offset_s
    inside = (second.times >= start) & (second.times <= end)
    at = second.times[inside]
    if len(at) < 8 or at[-1] - at[0] < MIN_OVERLAP_S:
        return TimeOffset(0.0, float("inf"), 0.0, False)
    span = at[-1] - at[0]
    waves = np.arange(int(2 * span / SLOW_S) + 1)  # half periods within the span
    slow = np.cos(np.pi * (at[:, None] - at[0]) / span * waves)
    basis = np.linalg.qr(np.column_stack([slow, at - at.mean()]))[0]

    def detrended(values: Array) -> Array:
        return values - basis @ (basis.T @ values)

    def turned(shift: float) -> Array:
        return detrended(np.stack([np.interp(at + shift, first.times, axis) for axis in first.angles.T], 1))

    wanted = detrended(second.angles[inside])
    shifts = np.arange(-round(max_offset_s / GRID_S), round(max_offset_s / GRID_S) + 1) * GRID_S
    errors = np.array([((wanted - turned(shift)) ** 2).sum() for shift in shifts])
    best = int(np.argmin(errors))
    shift = float(shifts[best])
    for _ in range(5):  # Gauss-Newton from the grid's best, with the slope over a sensor's own step
        slope = (turned(shift + STEP_S) - turned(shift - STEP_S)) / (2 * STEP_S)
        residual = wanted - turned(shift)
        energy = float((slope**2).sum())
        if energy <= 0:
            return TimeOffset(0.0, float("inf"), 0.0, False)
        shift = float(np.clip(shift + (slope * residual).sum() / energy, shifts[0], shifts[-1]))
    here = turned(shift)
    residual = wanted - here
    correlation = float((here * wanted).sum() / np.sqrt((here**2).sum() * (wanted**2).sum()))
    # Neighbouring residuals are alike where a sensor drifts: then there are fewer of them than it seems.
    alike = float((residual[1:] * residual[:-1]).sum() / max((residual**2).sum(), 1e-30))
    inflation = (1 + max(alike, 0.0)) / max(1 - max(alike, 0.0), 0.02)
    sigma = float(np.sqrt((residual**2).mean() * inflation / energy))
    told = correlation >= MIN_CORRELATION and sigma <= MAX_SIGMA_S and 0 < best < len(shifts) - 1
    return TimeOffset(shift, sigma, correlation, told)
