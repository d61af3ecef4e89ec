"""Topics, message types and frames of our bags.

Frames (REP-103, REP-105), each a child of the one before it:
    map          the global frame of nuScenes
    odom         where the ego was at the first pose: small numbers for displays
    base_link    the ego: x forward, y left, z up
    NAME_optical a camera: x right, y down, z ahead
    NAME         a lidar: x forward. nuScenes' own lidar frame has x right, y forward; points and extrinsics are turned.
All stamps are those of the data, and so are the log times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from calib.errors import InputError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

MAP, ODOM, BASE = "map", "odom", "base_link"
MESSAGES = Path(__file__).resolve().parents[3] / "ros2_ws/src/genie_msgs/msg"
BAG_VERSION: Literal[8] = 8  # of metadata.yaml: what Iron writes, and later ones read


@dataclass(frozen=True)
class Channel:
    """A topic of a bag. latched: transient local, so that whoever comes later gets the last message."""

    topic: str
    type: str
    latched: bool = False


TF = Channel("/tf", "tf2_msgs/msg/TFMessage")
TF_STATIC = Channel("/tf_static", "tf2_msgs/msg/TFMessage", latched=True)
ODOMETRY = Channel("/odom", "nav_msgs/msg/Odometry")
IMU = Channel("/imu", "sensor_msgs/msg/Imu")
ANNOTATIONS = Channel("/annotations", "visualization_msgs/msg/MarkerArray")
OCCUPANCY = Channel("/perception/occupancy", "genie_msgs/msg/SemanticOccupancy")
FORECAST_TYPE = "genie_msgs/msg/OccupancyForecast"


def image(camera: str) -> Channel:
    return Channel(f"/{camera}/image_rect/compressed", "sensor_msgs/msg/CompressedImage")


def camera_info(camera: str) -> Channel:
    return Channel(f"/{camera}/image_rect/camera_info", "sensor_msgs/msg/CameraInfo")


def points(lidar: str) -> Channel:
    return Channel(f"/{lidar}/points", "sensor_msgs/msg/PointCloud2")


def optical(camera: str) -> str:
    return f"{camera}_optical"


@cache
def typestore() -> Typestore:
    """The messages of Humble, which later ones still have, and ours.

    Raises:
        InputError: rosbags is not installed, or this is no checkout of the project.
    """
    try:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ImportError as error:
        raise InputError(
            "the package rosbags is not installed", expected="the extra `viz`", fix="pip install 'rosbags>=0.11,<0.12'"
        ) from error
    definitions = sorted(MESSAGES.glob("*.msg"))
    if not definitions:
        raise InputError(
            "no message definitions there", expected="the .msg files of genie_msgs", fix="run it from a clone",
            path=MESSAGES,
        )  # fmt: skip
    store = get_typestore(Stores.ROS2_HUMBLE)
    types: dict[str, Any] = {}
    for path in definitions:
        types |= get_types_from_msg(path.read_text(encoding="utf-8"), f"genie_msgs/msg/{path.stem}")
    store.register(types)
    return store
