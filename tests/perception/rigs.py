"""A rig of six cameras and a lidar as nuScenes' car has it, for tests."""

from __future__ import annotations

from calib.rig import Camera, Intrinsics, Lidar, Mount, Rig
from genie.data.synth.sensors import CAMERAS, LIDAR, RIG


def nuscenes_rig() -> Rig:
    """Native 1600 x 900 images."""
    cameras = tuple(
        Camera(
            m.channel,
            Intrinsics("pinhole", (1600, 900), (m.focal or 0.0, m.focal or 0.0), m.centre),
            Mount(m.ego_from_sensor, 12.0),
        )
        for m in CAMERAS
    )
    lidar = next(m for m in RIG if m.channel == LIDAR)
    return Rig("test", cameras, (Lidar(LIDAR, Mount(lidar.ego_from_sensor, 20.0)),))
