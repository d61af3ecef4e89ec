"""Rigs from elsewhere: nuScenes' tables of sensors, and ROS's CameraInfo (its fields alone: no ROS is needed)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calib.errors import InputError
from calib.rig import Camera, Intrinsics, Lidar, Model, Mount, Rig
from calib.transforms import se3_from_quaternion

LIDAR_HZ, CAMERA_HZ = 20.0, 12.0  # of nuScenes' car; its tables do not say
_PINHOLE: tuple[Model, tuple[int, ...]] = ("pinhole", (0, 4, 5, 8))
# What the two generations of ROS call the models; fisheye is ROS 1's own name and ROS 2's equidistant.
_ROS_MODELS: dict[str, tuple[Model, tuple[int, ...]]] = {
    "": _PINHOLE,
    "plumb_bob": ("pinhole", (0, 4, 5)),
    "rational_polynomial": ("pinhole", (8,)),
    "equidistant": ("fisheye", (4,)),
    "fisheye": ("fisheye", (4,)),
}


def rig_from_nuscenes(
    name: str,
    calibrated_sensors: Iterable[Mapping[str, Any]],
    sensors: Iterable[Mapping[str, Any]],
    sizes: Mapping[str, tuple[int, int]],
) -> Rig:
    """A rig from records of `calibrated_sensor.json` and `sensor.json`, one of each channel; radars are left out.

    Args:
        name: of the rig.
        calibrated_sensors: those of one car at one time.
        sensors: all of them.
        sizes: width and height (px) of the images, by channel: they are in `sample_data.json`.
    """
    channels = {str(s["token"]): (str(s["channel"]), str(s["modality"])) for s in sensors}
    cameras, lidars = [], []
    for record in calibrated_sensors:
        channel, modality = channels[str(record["sensor_token"])]
        pose = se3_from_quaternion(np.array(record["translation"]), np.array(record["rotation"]))
        if modality == "lidar":
            lidars.append(Lidar(channel, Mount(pose, LIDAR_HZ)))
        elif modality == "camera":
            if channel not in sizes:
                raise InputError(
                    f"no image of {channel} in sample_data", expected="its width and height", fix="leave it out"
                )
            intrinsics = _rectified(np.array(record["camera_intrinsic"], dtype=float), sizes[channel], channel)
            cameras.append(Camera(channel, intrinsics, Mount(pose, CAMERA_HZ)))
    return Rig(name, tuple(cameras), tuple(lidars))


def _rectified(matrix: np.ndarray, size: tuple[int, int], channel: str) -> Intrinsics:
    """nuScenes' images are rectified: a matrix says it all."""
    if matrix.shape != (3, 3):
        raise InputError(
            f"{channel} has a camera_intrinsic of shape {matrix.shape}",
            expected="a 3x3 matrix",
            fix="mend calibrated_sensor.json",
        )
    return Intrinsics(
        "pinhole", size, (matrix[0, 0].item(), matrix[1, 1].item()), (matrix[0, 2].item(), matrix[1, 2].item())
    )


@dataclass(frozen=True)
class CameraInfo:
    """The fields of sensor_msgs/CameraInfo that matter here, as the message names them.

    d: coefficients. k: 9 numbers, row by row. frame_id: header.frame_id.
    """

    width: int
    height: int
    distortion_model: str
    k: Sequence[float]
    d: Sequence[float] = field(default_factory=tuple)
    binning_x: int = 0
    binning_y: int = 0
    frame_id: str = ""


def intrinsics_from_camera_info(info: CameraInfo) -> Intrinsics:
    """Of the images as they are published: with its binning.

    Raises:
        InputError: a model that is unknown, or numbers that are not there.
    """
    where = f"CameraInfo of {info.frame_id!r}"
    if info.distortion_model not in _ROS_MODELS:
        raise InputError(
            f"{where}: distortion_model {info.distortion_model!r}",
            expected=f"one of {', '.join(filter(None, _ROS_MODELS))}",
            fix="calibrate the camera with one of these models",
        )
    model, counts = _ROS_MODELS[info.distortion_model]
    if len(info.d) not in counts:
        raise InputError(
            f"{where}: {len(info.d)} coefficients d",
            expected=f"{' or '.join(map(str, counts))} for {info.distortion_model or 'no model'}",
            fix="check the calibration file of the camera's driver",
        )
    if len(info.k) != 9 or not info.k[0] > 0 or not info.k[4] > 0:
        raise InputError(
            f"{where}: k = {list(info.k)}",
            expected="9 numbers with the focal lengths at 0 and 4 (all zero means: not calibrated)",
            fix="calibrate the camera, or load its calibration in the driver",
        )
    full = Intrinsics(
        model,
        (int(info.width), int(info.height)),
        (float(info.k[0]), float(info.k[4])),
        (float(info.k[2]), float(info.k[5])),
        tuple(float(v) for v in info.d),
    )
    binned = (info.width // max(info.binning_x, 1), info.height // max(info.binning_y, 1))
    return full if binned == full.size else full.scaled(binned)
