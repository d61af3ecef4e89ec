"""mask_lidar and mask_camera: which voxels the rig sees, by rays through the true labels.

The rays are those of the rig, not of one measurement, so labels do not depend on which sensors are written. The lidar's
field of view is filled (a third of a degree both ways), as if it were swept over by the revolutions around it: Occ3D
accumulates them. All cameras look at the instant of the label, tilt of the body included.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, apply, inverse, se3_from_xyz_yaw
from genie.data.raycast import camera_rays, visible_mask
from genie.data.synth.sensors import LIDAR, RIG
from genie.data.synth.world import EgoPose

LOWEST, HIGHEST = np.radians(-30.67), np.radians(10.67)  # of the beams
LIDAR_REACH = 70.0  # m
_STEP = np.radians(1 / 3)


class Masks(NamedTuple):
    """lidar, camera: bool [200, 200, 16]."""

    lidar: NDArray[np.bool_]
    camera: NDArray[np.bool_]


class Rays(NamedTuple):
    """Of the rig, in the ego frame: origins and directions [n, 3]."""

    origins: Array
    directions: Array


def lidar_rays() -> Rays:
    mount = next(m for m in RIG if m.channel == LIDAR)
    azimuth, elevation = np.meshgrid(np.arange(0, 2 * np.pi, _STEP), np.arange(LOWEST, HIGHEST + _STEP, _STEP))
    level = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=-1
    ).reshape(-1, 3)
    ego_from_lidar = mount.ego_from_sensor
    return Rays(np.broadcast_to(ego_from_lidar[:3, 3], level.shape), level @ ego_from_lidar[:3, :3].T)


def rig_camera_rays() -> Rays:
    rays = [camera_rays(np.array(m.intrinsic), m.ego_from_sensor) for m in RIG if m.modality == "camera"]
    return Rays(
        np.concatenate([np.broadcast_to(r.origin, r.directions.shape) for r in rays]),
        np.concatenate([r.directions for r in rays]),
    )


class RigView:
    """The rays of the rig, made once."""

    def __init__(self) -> None:
        self._lidar, self._camera = lidar_rays(), rig_camera_rays()

    def masks(self, semantics: NDArray[np.uint8], ego: EgoPose) -> Masks:
        """Of labels uint8 [200, 200, 16] in the planar frame of `ego`."""
        planar_from_ego = inverse(se3_from_xyz_yaw(ego.xyz, ego.yaw)) @ ego.world_from_ego
        return Masks(
            _see(semantics, self._lidar, planar_from_ego, LIDAR_REACH),
            _see(semantics, self._camera, planar_from_ego, np.inf),
        )


def _see(semantics: NDArray[np.uint8], rays: Rays, planar_from_ego: Array, reach: float) -> NDArray[np.bool_]:
    origins, directions = apply(planar_from_ego, rays.origins), rays.directions @ planar_from_ego[:3, :3].T
    return visible_mask(semantics, origins, directions, reach)
