"""A forecast for displays and for nodes that want one step: path, one step, seen from above, points, class names."""

from __future__ import annotations

import json
from array import array
from typing import NamedTuple

import numpy as np
from genie_msgs.msg import SemanticOccupancy
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from nav_msgs.msg import OccupancyGrid, Path
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header, String

from genie_ros import conversions
from perception.types import CLASS_NAMES, FREE, GRID, GROUND, SceneForecast

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "class"],
        "formats": ["<f4", "<f4", "<f4", "u1"],
        "offsets": [0, 4, 8, 12],
        "itemsize": 16,
    }
)
POINT_FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    PointField(name="class", offset=12, datatype=PointField.UINT8, count=1),
]


def path_message(forecast: SceneForecast, poses: list[Pose], ego_frame: str) -> Path:
    """poses: conversions.future_poses of the forecast."""
    header = Header(stamp=conversions.time_from_us(forecast.stamp_us), frame_id=ego_frame)
    path = Path(header=header)
    for seconds, pose in zip(forecast.horizons_s, poses, strict=True):
        then = Header(stamp=conversions.time_from_us(_stamp_of(forecast, seconds)), frame_id=ego_frame)
        path.poses.append(PoseStamped(header=then, pose=pose))
    return path


def step_nearest(forecast: SceneForecast, horizon_s: float) -> int:
    return int(np.argmin(np.abs(forecast.horizons_s - horizon_s)))


def step_message(forecast: SceneForecast, step: int, ego_frame: str) -> SemanticOccupancy:
    """One step by itself: stamped with its own time, in the ego frame of that time."""
    stamp_us = _stamp_of(forecast, forecast.horizons_s[step])
    return conversions.occupancy_message(stamp_us, forecast.semantics[step], ego_frame)


def _stamp_of(forecast: SceneForecast, seconds: float) -> int:
    return max(0, forecast.stamp_us + round(float(seconds) * 1e6))


def labels_message() -> String:
    classes = {str(i): name for i, name in enumerate(CLASS_NAMES)}
    return String(data=json.dumps({"schema": conversions.LABEL_SCHEMA, "classes": classes}))


def bev_message(forecast: SceneForecast, step: int, ego_frame: str) -> OccupancyGrid:
    """From above: 100 where anything but ground stands in the column, 0 where ground alone is, -1 where nothing is."""
    semantics = forecast.semantics[step]
    ground = np.isin(semantics, GROUND)
    stands = (semantics != FREE) & ~ground
    cells = np.where(stands.any(-1), 100, np.where(ground.any(-1), 0, -1)).astype(np.int8)
    stamp = conversions.time_from_us(_stamp_of(forecast, forecast.horizons_s[step]))
    message = OccupancyGrid(header=Header(stamp=stamp, frame_id=ego_frame))
    x, y, z = GRID.origin
    message.info.resolution = GRID.voxel_size
    message.info.width, message.info.height = GRID.shape[0], GRID.shape[1]
    message.info.origin = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
    data = array("b")
    data.frombytes(np.ascontiguousarray(cells.T).tobytes())  # rows along x, as OccupancyGrid has them
    message.data = data
    return message


class Occupied(NamedTuple):
    """The occupied voxels of a step. x, y: of their centres in its own ego frame, float32 [n] (m). points: POINT [n],
    with their z and class."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    points: NDArray[np.void]


def occupied(semantics: NDArray[np.uint8]) -> Occupied:
    where = np.flatnonzero(semantics != FREE)
    centres = [
        (index.astype(np.float32) + np.float32(0.5)) * np.float32(GRID.voxel_size) + np.float32(low)
        for index, low in zip(np.unravel_index(where, GRID.shape), GRID.origin, strict=True)
    ]
    points = np.zeros(len(where), dtype=POINT)
    points["z"], points["class"] = centres[2], semantics.reshape(-1)[where]
    return Occupied(centres[0], centres[1], points)


def points_message(forecast: SceneForecast, step: int, seen: Occupied, ego_frame: str) -> PointCloud2:
    """Centres and classes of the occupied voxels of a step, in the header's ego frame.

    This is done thirty times a second, of sixty thousand points: the way to the step is planar, so z and class are
    copied. No product of matrices, whose threads would wait for those of the inference.

    Args:
        seen: `occupied` of the step, handed in because a repeated forecast has the same voxels, told from elsewhere.
    """
    x, y, yaw = (np.float32(value) for value in forecast.trajectory[step])
    along, across = np.cos(yaw), np.sin(yaw)
    points = seen.points.copy()
    points["x"] = along * seen.x - across * seen.y + x
    points["y"] = across * seen.x + along * seen.y + y
    message = PointCloud2(
        header=Header(stamp=conversions.time_from_us(forecast.stamp_us), frame_id=ego_frame),
        height=1,
        width=len(points),
        fields=POINT_FIELDS,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(points),
        is_dense=True,
    )
    message.data = conversions.packed(points.view(np.uint8))
    return message
