"""A forecast for displays and for nodes that want one step: path, one step, seen from above, points, class names."""

from __future__ import annotations

import json
from array import array

import numpy as np
from genie_msgs.msg import SemanticOccupancy
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from nav_msgs.msg import OccupancyGrid, Path
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header, String

from calib.transforms import apply
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


def path_message(forecast: SceneForecast, ego_frame: str) -> Path:
    header = Header(stamp=conversions.time_from_us(forecast.stamp_us), frame_id=ego_frame)
    path = Path(header=header)
    for seconds, pose in zip(forecast.horizons_s, conversions.ego_from_future(forecast), strict=True):
        then = Header(stamp=conversions.time_from_us(_stamp_of(forecast, seconds)), frame_id=ego_frame)
        path.poses.append(PoseStamped(header=then, pose=conversions.pose_from_matrix(pose)))
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


def points_message(forecast: SceneForecast, step: int, ego_frame: str) -> PointCloud2:
    """Centres and classes of the occupied voxels of a step, in the header's ego frame."""
    semantics = forecast.semantics[step]
    index = np.stack(np.unravel_index(np.flatnonzero(semantics != FREE), GRID.shape), axis=-1)
    centres = (index + 0.5) * GRID.voxel_size + np.asarray(GRID.origin)
    points = np.zeros(len(index), dtype=POINT)
    points["x"], points["y"], points["z"] = apply(conversions.ego_from_future(forecast)[step], centres).T
    points["class"] = semantics[tuple(index.T)]
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
