"""mask_lidar and mask_camera: which voxels the rig sees, by rays through the true labels.

The rays are those of the rig, not of one measurement, so labels do not depend on which sensors are written. The lidar's
field of view is filled, as if the revolutions around the keyframe had swept over it: Occ3D accumulates them. Rays a
third of a degree apart sound the free space; further ones aim at each face that an occupied voxel turns to the sensor,
since the regular ones meet far ground in stripes alone. All sensors look at the instant of the label.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, apply, inverse
from genie.data.raycast import camera_rays, visible_mask
from genie.data.synth.sensors import CAMERAS, IMAGE_SIZE, LIDAR, RIG, Mount
from perception.types import FREE, GRID

LOWEST, HIGHEST = np.radians(-30.67), np.radians(10.67)  # of the beams
_STEP = np.radians(1 / 3)


class Masks(NamedTuple):
    """lidar, camera: bool [200, 200, 16]."""

    lidar: NDArray[np.bool_]
    camera: NDArray[np.bool_]


class Faces(NamedTuple):
    """Sides of occupied voxels that free ones (or the outside) touch: a point just beneath each and the outward
    normal, [n, 3]."""

    points: Array
    normals: Array


class RigView:
    """The rig and its regular rays, [n, 3] in each sensor's frame; made once."""

    def __init__(self) -> None:
        self._lidar = next(m for m in RIG if m.channel == LIDAR)
        self._lidar_rays = lidar_rays()
        self._camera_rays = [camera_rays(np.array(m.intrinsic), np.eye(4)).directions for m in CAMERAS]

    def masks(self, semantics: NDArray[np.uint8]) -> Masks:
        """Of labels uint8 [200, 200, 16] in the ego frame."""
        faces = exposed_faces(semantics)
        lidar = self.lidar_mask(semantics, faces)
        camera = np.zeros(GRID.shape, np.bool_)
        for mount, rays in zip(CAMERAS, self._camera_rays, strict=True):
            camera |= _seen_by(mount, rays, semantics, faces)
        return Masks(lidar, camera)

    def lidar_mask(self, semantics: NDArray[np.uint8], faces: Faces | None = None) -> NDArray[np.bool_]:
        """What the lidar alone sees of such labels."""
        return _seen_by(self._lidar, self._lidar_rays, semantics, faces or exposed_faces(semantics))


def lidar_rays() -> Array:
    azimuth, elevation = np.meshgrid(np.arange(0, 2 * np.pi, _STEP), np.arange(LOWEST, HIGHEST + _STEP, _STEP))
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)


def exposed_faces(semantics: NDArray[np.uint8]) -> Faces:
    """Of labels [200, 200, 16]."""
    occupied = np.pad(semantics != FREE, 1)
    inner = (slice(1, -1),) * 3
    points, normals = [], []
    for axis in range(3):
        for sign in (-1, 1):
            open_side = ~np.roll(occupied, -sign, axis)[inner] & occupied[inner]
            normal = np.zeros(3)
            normal[axis] = sign
            voxels = np.argwhere(open_side)
            points.append((voxels + 0.5 + 0.498 * normal) * GRID.voxel_size + GRID.origin)
            normals.append(np.broadcast_to(normal, voxels.shape))
    return Faces(np.concatenate(points), np.concatenate(normals))


def _seen_by(mount: Mount, rays: Array, semantics: NDArray[np.uint8], faces: Faces) -> NDArray[np.bool_]:
    ego_from_sensor = mount.ego_from_sensor
    origin = ego_from_sensor[:3, 3]
    aims = faces.points[((origin - faces.points) * faces.normals).sum(1) > 0]
    aims = aims[_in_view(mount, apply(inverse(ego_from_sensor), aims))]
    return visible_mask(semantics, origin, np.concatenate([rays @ ego_from_sensor[:3, :3].T, aims - origin]))


def _in_view(mount: Mount, points: Array) -> NDArray[np.bool_]:
    """Which points [n, 3] in the sensor's frame its field of view covers."""
    if mount.channel == LIDAR:
        elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
        return (elevation >= LOWEST) & (elevation <= HIGHEST)
    pixel = points @ np.array(mount.intrinsic).T
    inside = (pixel[:, :2] >= 0) & (pixel[:, :2] <= np.array(IMAGE_SIZE) * points[:, 2:])
    return inside.all(1) & (points[:, 2] > 0)
