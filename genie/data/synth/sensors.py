"""The seam for sensors: the rig that the tables describe, and what a simulated sensor has to offer.

No sensor writes files yet. Whoever adds one implements `Sensor` and passes it to `generate`; nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from genie.data.synth.world import World

LIDAR = "LIDAR_TOP"


@dataclass(frozen=True)
class Mount:
    """ego_from_sensor of one channel: translation (m), quaternion [w, x, y, z]; focal length (px) of a camera."""

    channel: str
    modality: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    focal: float | None = None

    @property
    def intrinsic(self) -> list[list[float]]:
        """3x3 for images of 1600 x 900, empty for the lidar (as nuScenes has it)."""
        if self.focal is None:
            return []
        return [[self.focal, 0.0, 800.0], [0.0, self.focal, 450.0], [0.0, 0.0, 1.0]]


def _camera(channel: str, x: float, y: float, yaw_deg: float, focal: float = 1260.0) -> Mount:
    """A level camera: its z axis looks along `yaw_deg`, x right, y down."""
    c, s = np.cos(np.radians(yaw_deg) / 2), np.sin(np.radians(yaw_deg) / 2)
    # (c + s k) * (0.5 - 0.5 i + 0.5 j - 0.5 k)
    rotation = (0.5 * (c + s), -0.5 * (c + s), 0.5 * (c - s), -0.5 * (c - s))
    return Mount(channel, "camera", (x, y, 1.51), tuple(round(float(v), 12) for v in rotation), focal)  # type: ignore[arg-type]


_HALF = float(np.sqrt(0.5))
# Where nuScenes carries them, to a few centimetres. The lidar's x axis points right.
RIG: tuple[Mount, ...] = (
    Mount(LIDAR, "lidar", (0.94, 0.0, 1.84), (_HALF, 0.0, 0.0, -_HALF)),
    _camera("CAM_FRONT", 1.70, 0.0, 0.0),
    _camera("CAM_FRONT_LEFT", 1.52, 0.49, 55.0),
    _camera("CAM_FRONT_RIGHT", 1.55, -0.49, -55.0),
    _camera("CAM_BACK", 0.03, 0.0, 180.0, focal=810.0),
    _camera("CAM_BACK_LEFT", 1.04, 0.48, 110.0),
    _camera("CAM_BACK_RIGHT", 1.01, -0.48, -110.0),
)


class Sensor(Protocol):
    """A simulated sensor of one channel of the rig."""

    channel: str

    def write(self, world: World, t: float, path: Path) -> None:
        """Writes what the sensor measures `t` seconds after the start of the scene to `path`."""
        ...
