"""Messages of sensors as what perception takes. Every function takes a message and returns plain values."""

from __future__ import annotations

import cv2
import numpy as np
from genie_msgs.msg import OccupancyForecast
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, PointCloud2, PointField

from calib.errors import InputError
from deploy.expected import Foreseen
from genie_ros import conversions
from perception.types import Occupancy

FIELDS = ("x", "y", "z", "intensity")


def points_from_message(message: PointCloud2) -> NDArray[np.float32]:
    """float32 [n, 4]: x, y, z (m), intensity as it is published (0..255).

    Raises:
        InputError: another byte order, a field that is missing or of another type, or a size that does not fit.
    """
    offsets = {f.name: f.offset for f in message.fields if f.datatype == PointField.FLOAT32 and f.count == 1}
    missing = [name for name in FIELDS if name not in offsets]
    count, step = message.width * message.height, message.point_step
    fits = len(message.data) == count * step and message.row_step == message.width * step
    if message.is_bigendian or missing or not fits:
        raise InputError(
            f"a PointCloud2 of {len(message.data)} bytes for {count} points of {step}"
            + (", big-endian" if message.is_bigendian else "")
            + (f", without {', '.join(missing)} as FLOAT32" if missing else ""),
            expected="little-endian FLOAT32 x, y, z, intensity, rows without padding",
            fix="convert it in the driver",
        )
    kind = np.dtype(
        {"names": FIELDS, "formats": ["<f4"] * 4, "offsets": [offsets[n] for n in FIELDS], "itemsize": step}
    )
    rows = np.frombuffer(message.data, kind)
    return np.stack([rows[name] for name in FIELDS], axis=1)


def image_from_message(message: CompressedImage) -> NDArray[np.uint8]:
    """BGR uint8 [H, W, 3]. InputError where it is no image."""
    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise InputError(
            f"a CompressedImage of {data.size} bytes, format {message.format!r}, that cannot be decoded",
            expected="a JPEG or PNG",
            fix="check the camera driver",
        )
    return np.asarray(image, np.uint8)


def foreseen_from_message(message: OccupancyForecast, ego_frame: str) -> list[Foreseen]:
    """The steps of a forecast. InputError as of `occupancy_from_message`, or where its parts are not of one length."""
    steps = len(message.time_from_start)
    voxels = conversions.voxels_from_message(message, steps, ego_frame)
    if not len(message.ego_poses) == steps > 0 or len(message.confidence) % steps:
        raise InputError(
            f"{steps} times, {len(message.ego_poses)} poses and {len(message.confidence)} confidences in a forecast",
            expected="as many of each as there are steps, one or more",
            fix="convert it at its source",
        )
    told_us = conversions.us_from_time(message.header.stamp)
    confidence = np.asarray(message.confidence, np.float32).reshape(steps, -1).mean(1)
    return [
        Foreseen(
            told_us,
            told_us + round(1e6 * conversions.s_from_duration(message.time_from_start[t])),
            conversions.matrix_from_pose(message.ego_poses[t]),
            Occupancy(voxels[t], source="OccupancyForecast message").validate().semantics,
            float(confidence[t]),
        )
        for t in range(steps)
    ]
