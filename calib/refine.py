"""Small corrections of a pose by least squares: one robust Gauss-Newton for whatever residuals, with covariance."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from calib.agreement import perturbed
from calib.transforms import Array

HUBER = 1.5  # standard deviations beyond which a residual counts less
_DELTA = np.array([1e-5, 1e-5, 1e-5, 1e-4, 1e-4, 1e-4])  # rad, m: of the numerical derivative


class Refined(NamedTuple):
    """pose: [4, 4]. covariance: [6, 6] of the correction perturbed(x) @ pose: rad about, then m along the target's
    axes. rms: of the residuals in standard deviations, 1 where they are as large as was said; None where it was no sum
    of squares. size: how many residuals, or ends."""

    pose: Array
    covariance: Array
    rms: float | None
    size: int

    @property
    def sigma_deg(self) -> Array:
        """[3], standard deviations of the rotation (degrees)."""
        return np.degrees(np.sqrt(np.diag(self.covariance)[:3]))

    @property
    def sigma_m(self) -> Array:
        """[3], standard deviations of the translation (m)."""
        return np.sqrt(np.diag(self.covariance)[3:])


def refine(residuals: Callable[[Array], Array], pose: Array, rounds: int = 30) -> Refined:
    """
    Args:
        residuals: of a pose [4, 4], in standard deviations each: [n].
        pose: where to begin.

    The covariance is the inverse of the Gauss-Newton Hessian, times the residuals' own variance where they are larger
    than they were said to be.
    """
    for _ in range(rounds):
        here, jacobian = residuals(pose), _jacobian(residuals, pose)
        weight = 1 / np.maximum(np.abs(here) / HUBER, 1.0)
        hessian = jacobian.T @ (jacobian * weight[:, None])
        step = -np.linalg.solve(hessian, jacobian.T @ (weight * here))
        pose = perturbed(step) @ pose
        if np.abs(step).max() < 1e-7:
            break
    here, jacobian = residuals(pose), _jacobian(residuals, pose)
    weight = 1 / np.maximum(np.abs(here) / HUBER, 1.0)
    variance = float((weight * here**2).sum() / max(len(here) - 6, 1))
    covariance = np.linalg.inv(jacobian.T @ (jacobian * weight[:, None])) * max(variance, 1.0)
    return Refined(pose, covariance, float(np.sqrt(variance)), len(here))


def _jacobian(residuals: Callable[[Array], Array], pose: Array) -> Array:
    """[n, 6]."""
    columns = []
    for axis, delta in enumerate(_DELTA):
        step = np.zeros(6)
        step[axis] = delta
        columns.append((residuals(perturbed(step) @ pose) - residuals(perturbed(-step) @ pose)) / (2 * delta))
    return np.stack(columns, axis=1)
