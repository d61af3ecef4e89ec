"""Rigid transforms as 4x4 float64 matrices, named `target_from_source`, so that names cancel when composed.

future_from_world @ world_from_ego   ->   future_from_ego
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def se3(translation: Array, rotation: Array | None = None) -> Array:
    """A 4x4 transform from a translation [3] (m) and a rotation matrix [3, 3]."""
    out = np.eye(4)
    out[:3, 3] = translation
    if rotation is not None:
        out[:3, :3] = rotation
    return out


def se3_from_xyz_yaw(xyz: Array, yaw: Array | float) -> Array:
    """Planar poses: xyz [..., 3] (m) and yaw [...] (rad, about +z) -> [..., 4, 4]."""
    xyz, yaw = np.asarray(xyz, dtype=np.float64), np.asarray(yaw, dtype=np.float64)
    out = np.zeros((*yaw.shape, 4, 4))
    cos, sin = np.cos(yaw), np.sin(yaw)
    out[..., 0, 0], out[..., 0, 1], out[..., 1, 0], out[..., 1, 1] = cos, -sin, sin, cos
    out[..., 2, 2] = out[..., 3, 3] = 1.0
    out[..., :3, 3] = xyz
    return out


def se3_from_quaternion(translation: Array, wxyz: Array) -> Array:
    """A 4x4 transform from a translation [3] (m) and a quaternion [w, x, y, z] (nuScenes order; normalised here)."""
    w, x, y, z = np.asarray(wxyz, dtype=np.float64) / np.linalg.norm(wxyz)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return se3(np.asarray(translation, dtype=np.float64), rotation)


def quaternion_from_yaw(yaw: float) -> list[float]:
    """[w, x, y, z] of a rotation by `yaw` (rad) about +z."""
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def quaternion_from_rotation(rotation: Array) -> Array:
    """[w, x, y, z] with w >= 0 of a rotation matrix [3, 3].

    The largest component is computed first, so that no small number is divided by (Shepperd 1978).
    """
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    squares = np.array([1 + trace, *(1 + 2 * r[i, i] - trace for i in range(3))])  # 4w^2, 4x^2, 4y^2, 4z^2
    largest = int(np.argmax(squares))
    products = np.array(
        [
            [squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], squares[1], r[1, 0] + r[0, 1], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], squares[2], r[2, 1] + r[1, 2]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2], squares[3]],
        ]
    )  # 4 q q^T
    quaternion: Array = products[largest] / (2 * np.sqrt(squares[largest]))
    return -quaternion if quaternion[0] < 0 else quaternion


def inverse(target_from_source: Array) -> Array:
    """source_from_target of rigid transforms [..., 4, 4]."""
    rotation_t = np.swapaxes(target_from_source[..., :3, :3], -1, -2)
    out = np.zeros_like(target_from_source)
    out[..., :3, :3] = rotation_t
    out[..., :3, 3] = -(rotation_t @ target_from_source[..., :3, 3:4])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def yaw_of(transform: Array) -> Array:
    """Heading (rad) of transforms [..., 4, 4]: the angle of their x axis in the target's xy plane."""
    return np.arctan2(transform[..., 1, 0], transform[..., 0, 0])


def planar(target_from_source: Array) -> Array:
    """[..., 4, 4] -> [..., 3]: x (m), y (m), yaw (rad)."""
    t = target_from_source
    return np.stack([t[..., 0, 3], t[..., 1, 3], yaw_of(t)], axis=-1)


def wrap_angle(angle: Array | float) -> Array:
    """To [-pi, pi)."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def apply(target_from_source: Array, points: Array) -> Array:
    """Points [..., 3] of the source frame, in the target frame."""
    return points @ target_from_source[:3, :3].T + target_from_source[:3, 3]
