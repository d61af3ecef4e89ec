"""`can_bus/<scene>_pose.json`: the car's own localisation at 50 Hz, in the layout of the CAN bus expansion."""

from __future__ import annotations

from typing import Any

import numpy as np

from calib.transforms import Array
from genie.data.synth.config import DT
from genie.data.synth.names import SceneNames
from genie.data.synth.samples import ego_quaternion
from genie.data.synth.world import World

CAN_HZ = 50
GRAVITY = 9.81  # m/s^2


def pose_messages(world: World, names: SceneNames) -> list[dict[str, Any]]:
    """From the first keyframe to the last.

    utime (us); pos [x, y, 0] (m) and orientation [w, x, y, z] in the world; in the ego frame: vel (m/s), forwards
    alone, accel (m/s^2), with gravity as a strapped-down sensor feels it, and rotation_rate (rad/s).
    """
    count = round(world.duration * CAN_HZ) + 1
    times = np.arange(count) / CAN_HZ
    poses = [world.ego(t) for t in times]
    turn = np.stack([p.world_from_ego[:3, :3] for p in poses])  # [T, 3, 3]
    # The simulation steps by DT and is linear in between: differences over less would be its corners.
    position = np.stack([p.xyz for p in poses])
    velocity = _slope(position)
    felt = _slope(velocity) + np.array([0.0, 0.0, GRAVITY])
    accel = np.einsum("tji,tj->ti", turn, felt)
    forward = np.einsum("ti,ti->t", turn[:, :, 0], velocity)
    yaw, pitch, roll = (
        _slope(np.unwrap([getattr(p, name) for p in poses])[:, None])[:, 0] for name in ("yaw", "pitch", "roll")
    )
    rate = np.stack([roll, pitch, yaw], axis=1)  # small tilts: the axes are the body's
    return [
        {
            "accel": _list(accel[i]),
            "orientation": ego_quaternion(poses[i]),
            "pos": _list(position[i]),
            "rotation_rate": _list(rate[i]),
            "utime": names.stamp_us(i * (1_000_000 // CAN_HZ)),
            "vel": [float(forward[i]), 0.0, 0.0],
        }
        for i in range(count)
    ]


def _slope(series: Array) -> Array:
    """Of [T, k] at CAN_HZ, per second: over DT on both sides, over what there is at the ends."""
    span = round(DT * CAN_HZ)
    at = np.arange(len(series))
    low, high = np.maximum(at - span, 0), np.minimum(at + span, len(series) - 1)
    return (series[high] - series[low]) / ((high - low) / CAN_HZ)[:, None]


def _list(values: Array) -> list[float]:
    return [round(float(v), 9) for v in values]
