"""What the sensors are: the rig that the tables describe, how a lens bends rays, and what a revolution of the lidar is.

`render.Renderer` simulates them. Nothing here needs the ray tracer, so tables and commands may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import se3_from_quaternion

LIDAR = "LIDAR_TOP"
LIDAR_HZ, CAMERA_HZ = 20, 12
REVOLUTION = 1 / LIDAR_HZ  # s
IMAGE_SIZE = (1600, 900)  # px, width and height at scale 1

# Classes of nuScenes-lidarseg; a point's label is its index here.
LIDARSEG: tuple[str, ...] = (
    "noise", "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack", "vehicle.bicycle",
    "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction", "vehicle.emergency.ambulance",
    "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer", "vehicle.truck", "flat.driveable_surface",
    "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade", "static.other", "static.vegetation",
    "vehicle.ego",
)  # fmt: skip


class Lens(NamedTuple):
    """Plumb-bob coefficients as OpenCV names them. All zero: nuScenes' images are rectified."""

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0


RECTIFIED = Lens()


@dataclass(frozen=True)
class Mount:
    """One channel of the rig.

    translation, rotation: ego_from_sensor, m and a quaternion [w, x, y, z]. A camera's z axis looks ahead, x right and
    y down; the lidar's x axis points right and y ahead.
    focal, centre: of a camera, px of an image of 1600 x 900.
    lead: s that a camera is exposed before the end of the lidar's revolution: when the beam passes its axis.
    """

    channel: str
    modality: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    focal: float | None = None
    centre: tuple[float, float] = (800.0, 450.0)
    lead: float = 0.0
    lens: Lens = RECTIFIED

    @property
    def intrinsic(self) -> list[list[float]]:
        """3x3 for images of 1600 x 900, empty for the lidar (as nuScenes has it)."""
        if self.focal is None:
            return []
        return [[self.focal, 0.0, self.centre[0]], [0.0, self.focal, self.centre[1]], [0.0, 0.0, 1.0]]

    @property
    def ego_from_sensor(self) -> NDArray[np.float64]:
        """[4, 4]."""
        return se3_from_quaternion(np.array(self.translation), np.array(self.rotation))


def _camera(
    channel: str,
    translation: tuple[float, float, float],
    rotation: tuple[float, float, float, float],
    focal: float,
    centre: tuple[float, float],
    lead: float,
) -> Mount:
    return Mount(channel, "camera", translation, rotation, focal, centre, lead)


# Where a nuScenes vehicle carries them, small rolls and pitches included.
RIG: tuple[Mount, ...] = (
    Mount(LIDAR, "lidar", (0.944, 0.0, 1.84), (0.7078, -0.00649, 0.01065, -0.70631)),
    _camera("CAM_FRONT", (1.701, 0.016, 1.511), (-0.4998, 0.50303, -0.49978, 0.49737), 1266.4, (816.3, 491.5), 0.036),
    _camera(
        "CAM_FRONT_LEFT", (1.524, 0.495, 1.509), (0.67573, -0.67363, 0.21214, -0.21123), 1272.6, (826.6, 479.8), 0.043
    ),
    _camera(
        "CAM_FRONT_RIGHT", (1.551, -0.493, 1.496), (0.20603, -0.20269, 0.68245, -0.67136), 1260.8, (808.0, 495.3), 0.028
    ),
    _camera("CAM_BACK", (0.028, 0.003, 1.579), (0.50379, -0.4974, -0.49419, 0.50455), 809.2, (829.2, 481.8), 0.010),
    _camera(
        "CAM_BACK_LEFT", (1.036, 0.485, 1.591), (-0.69242, 0.70316, 0.11648, -0.11203), 1256.7, (792.1, 492.8), 0.002
    ),
    _camera(
        "CAM_BACK_RIGHT", (1.015, -0.481, 1.562), (-0.12281, 0.1324, 0.70043, -0.6905), 1259.5, (807.3, 501.2), 0.020
    ),
)  # fmt: skip
CAMERAS: tuple[Mount, ...] = tuple(m for m in RIG if m.modality == "camera")


class LidarSweep(NamedTuple):
    """One revolution, its ego motion compensated to the stamp at its end (as nuScenes does it), that of objects not.

    points: float32 [n, 5], all firings in the order of time, 32 beams each: x (right), y (ahead), z (up) in m in the
        sensor frame at the stamp, intensity 0..255, ring 0 (lowest) .. 31. A beam without an echo is kept, as in
        nuScenes' files, as range 0: the sensor's place at the time of the firing.
    instance: int32 [n], index into the world's instances, -1 for what is static or has none.
    category: uint8 [n], index into LIDARSEG; without an echo: 0.
    """

    points: NDArray[np.float32]
    instance: NDArray[np.int32]
    category: NDArray[np.uint8]
