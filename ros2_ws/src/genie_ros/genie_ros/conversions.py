"""Between messages and the project's own types. Pure functions; axes are turned round here and nowhere else.

Ours:     [X, Y, Z], the column contiguous in memory.
Messages: [Z, Y, X], x fastest.
Arrays go into messages as array.array filled by frombytes: one copy, where a list would be checked element by element.
"""

from __future__ import annotations

import math
from array import array

import cv2
import numpy as np
from builtin_interfaces.msg import Duration, Time
from genie_msgs.msg import (
    DrivingCommand,
    EgoTrajectory,
    EgoTrajectoryPoint,
    OccupancyForecast,
    ScenePredictionStatus,
    SemanticOccupancy,
    VoxelGridInfo,
)
from geometry_msgs.msg import Point, Pose, Quaternion
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from calib.errors import InputError
from calib.rig import Intrinsics
from calib.rig_import import CameraInfo as CameraInfoFields
from calib.rig_import import intrinsics_from_camera_info
from calib.transforms import quaternion_from_rotation, se3_from_quaternion, se3_from_xyz_yaw
from deploy.kinematics import kinematics_of
from deploy.live_status import LiveStatus
from genie.command import Command
from perception.types import GRID, Occupancy, SceneForecast, VoxelGrid

LABEL_SCHEMA = "occ3d-nuscenes"
MESSAGE_OF: dict[Command | None, int] = {
    None: DrivingCommand.UNKNOWN,
    Command.LEFT: DrivingCommand.LEFT,
    Command.STRAIGHT: DrivingCommand.STRAIGHT,
    Command.RIGHT: DrivingCommand.RIGHT,
}
_COMMAND_OF = {value: command for command, value in MESSAGE_OF.items()}


def time_from_us(stamp_us: int) -> Time:
    return Time(sec=stamp_us // 1_000_000, nanosec=stamp_us % 1_000_000 * 1000)


def us_from_time(stamp: Time) -> int:
    """Microseconds; what is finer is cut off."""
    return stamp.sec * 1_000_000 + stamp.nanosec // 1000


def duration_from_s(seconds: float) -> Duration:
    nanoseconds = round(float(seconds) * 1e9)
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def s_from_duration(duration: Duration) -> float:
    return duration.sec + duration.nanosec * 1e-9


def packed(values: NDArray[np.uint8] | NDArray[np.float32]) -> array[int] | array[float]:
    """An array of uint8 or float32, of any shape, as array.array in C order."""
    out: array[int] | array[float] = array("B" if values.dtype.itemsize == 1 else "f")
    out.frombytes(memoryview(np.ascontiguousarray(values)).cast("B"))
    return out


def pose_from_matrix(target_from_source: NDArray[np.float64]) -> Pose:
    x, y, z = (float(v) for v in target_from_source[:3, 3])
    qw, qx, qy, qz = (float(v) for v in quaternion_from_rotation(target_from_source[:3, :3]))
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def matrix_from_pose(pose: Pose) -> NDArray[np.float64]:
    """target_from_source [4, 4]. InputError if the pose is not finite or its quaternion not of length 1."""
    p, q = pose.position, pose.orientation
    wxyz = np.array([q.w, q.x, q.y, q.z])
    length = float(np.linalg.norm(wxyz))
    if not np.isfinite([p.x, p.y, p.z]).all() or not abs(length - 1.0) < 0.01:
        raise InputError(
            f"a pose at ({p.x}, {p.y}, {p.z}) with a quaternion of length {length:.3g}",
            expected="finite numbers and a quaternion of length 1",
            fix="check the odometry source",
        )
    return se3_from_quaternion(np.array([p.x, p.y, p.z]), wxyz)


def odometry_message(stamp_us: int, world_from_ego: NDArray[np.float64], world_frame: str, ego_frame: str) -> Odometry:
    """Pose only: the twist is left 0, since the node does not read it."""
    message = Odometry(header=Header(stamp=time_from_us(stamp_us), frame_id=world_frame), child_frame_id=ego_frame)
    message.pose.pose = pose_from_matrix(world_from_ego)
    return message


def grid_message(grid: VoxelGrid = GRID) -> VoxelGridInfo:
    x, y, z = grid.origin
    return VoxelGridInfo(
        size_x=grid.shape[0],
        size_y=grid.shape[1],
        size_z=grid.shape[2],
        voxel_size=grid.voxel_size,
        origin=Point(x=x, y=y, z=z),
    )


def occupancy_message(stamp_us: int, semantics: NDArray[np.uint8], ego_frame: str) -> SemanticOccupancy:
    """semantics: uint8 [X, Y, Z]."""
    message = SemanticOccupancy(
        header=Header(stamp=time_from_us(stamp_us), frame_id=ego_frame), grid=grid_message(), label_schema=LABEL_SCHEMA
    )
    message.data = packed(semantics.transpose(2, 1, 0))
    return message


def occupancy_from_message(message: SemanticOccupancy, ego_frame: str) -> Occupancy:
    """InputError where frame, grid, schema, size or class ids are not what the model was made for."""
    (semantics,) = voxels_from_message(message, 1, ego_frame)
    return Occupancy(semantics, source="SemanticOccupancy message").validate()


def voxels_from_message(
    message: SemanticOccupancy | OccupancyForecast, steps: int, ego_frame: str
) -> NDArray[np.uint8]:
    """uint8 [steps, X, Y, Z]. InputError where frame, grid, schema or size are other ones."""
    grid, origin = message.grid, message.grid.origin
    found = (grid.size_x, grid.size_y, grid.size_z, round(grid.voxel_size, 6), (origin.x, origin.y, origin.z))
    for what, value, wanted in (
        ("frame_id", message.header.frame_id, ego_frame),
        ("label_schema", message.label_schema, LABEL_SCHEMA),
        ("grid", found, (*GRID.shape, GRID.voxel_size, GRID.origin)),
        ("size of data", len(message.data), steps * int(np.prod(GRID.shape))),
    ):
        if value != wanted:
            raise InputError(
                f"{what} is {value!r} in a {type(message).__name__}",
                expected=repr(wanted),
                fix="convert it at its source",
            )
    data = np.frombuffer(message.data, dtype=np.uint8).reshape(steps, *GRID.shape[::-1])
    return np.ascontiguousarray(data.transpose(0, 3, 2, 1))


def status_message(status: LiveStatus, ego_frame: str) -> ScenePredictionStatus:
    return ScenePredictionStatus(
        header=Header(stamp=time_from_us(status.stamp_us), frame_id=ego_frame),
        level=int(status.level),
        observation_stamp=time_from_us(status.observation_us),
        input_age=status.input_age_s,
        inference_time=status.inference_time_s,
        is_new_inference=status.is_new_inference,
        inference_id=status.inference_id,
        engine_id=status.engine_id,
        camera_mask=status.camera_mask,
        command=MESSAGE_OF[status.command],
        columns=status.columns,
        reasons=list(status.reasons),
        published_count=status.published_count,
        inference_count=status.inference_count,
        rejected_count=status.rejected_count,
        skipped_count=status.skipped_count,
    )


def command_from_message(message: DrivingCommand) -> Command | None:
    """None: nothing is told. InputError for a number that is no command."""
    if message.command not in _COMMAND_OF:
        raise InputError(
            f"command {message.command} in a DrivingCommand",
            expected=", ".join(map(str, sorted(_COMMAND_OF))),
            fix="use the constants of the message",
        )
    return _COMMAND_OF[message.command]


def intrinsics_from_message(message: CameraInfo) -> Intrinsics:
    """InputError where it is not calibrated, or by a model that is unknown."""
    fields = CameraInfoFields(
        width=message.width,
        height=message.height,
        distortion_model=message.distortion_model,
        k=tuple(float(v) for v in message.k),
        d=tuple(float(v) for v in message.d),
        binning_x=message.binning_x,
        binning_y=message.binning_y,
        frame_id=message.header.frame_id,
    )
    return intrinsics_from_camera_info(fields)


def ego_from_future(forecast: SceneForecast) -> NDArray[np.float64]:
    """[H, 4, 4]: the future ego frames of a forecast in its ego frame."""
    xy0 = np.zeros((len(forecast.trajectory), 3))
    xy0[:, :2] = forecast.trajectory[:, :2]
    return se3_from_xyz_yaw(xy0, forecast.trajectory[:, 2])


def future_poses(forecast: SceneForecast) -> list[Pose]:
    """Those of `ego_from_future`, for the messages of one tick: they all tell the same ones."""
    return [
        Pose(position=Point(x=x, y=y), orientation=Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2)))
        for x, y, yaw in forecast.trajectory.astype(np.float64).tolist()
    ]


def forecast_data(semantics: NDArray[np.uint8]) -> array[int] | array[float]:
    """uint8 [T, X, Y, Z] in the message's order [T, Z, Y, X].

    In two steps, each of which moves whole lines: OpenCV turns X and (Y, Z) over, then lines along X are sorted. numpy
    alone moves single bytes, and takes three times as long. Written where it stays.
    """
    steps, x, y, z = semantics.shape
    out: array[int] = array("B", b"\0") * semantics.size
    lines = np.frombuffer(out, np.uint8).reshape(steps, z, y, x)
    for t in range(steps):
        turned = cv2.transpose(np.ascontiguousarray(semantics[t]).reshape(x, y * z))
        lines[t] = turned.reshape(y, z, x).transpose(1, 0, 2)
    return out


def forecast_message(
    forecast: SceneForecast,
    data: array[int] | array[float],
    poses: list[Pose],
    status: ScenePredictionStatus,
    ego_frame: str,
) -> OccupancyForecast:
    """data: `forecast_data` of the forecast, handed in because a repeated forecast need not be packed again. poses:
    `future_poses` of it."""
    message = OccupancyForecast(
        header=Header(stamp=time_from_us(forecast.stamp_us), frame_id=ego_frame),
        time_from_start=[duration_from_s(h) for h in forecast.horizons_s],
        ego_poses=poses,
        grid=grid_message(),
        label_schema=LABEL_SCHEMA,
        confidence_stride=GRID.shape[0] // forecast.confidence.shape[1],
        status=status,
    )
    message.data = data
    message.confidence = packed(forecast.confidence.astype(np.float32, copy=False).transpose(0, 2, 1))
    return message


def trajectory_message(
    forecast: SceneForecast, poses: list[Pose], status: ScenePredictionStatus, ego_frame: str
) -> EgoTrajectory:
    """poses: `future_poses` of the forecast."""
    motion = kinematics_of(forecast.trajectory, forecast.horizons_s)
    points = [
        EgoTrajectoryPoint(
            time_from_start=duration_from_s(seconds),
            pose=pose,
            longitudinal_velocity_mps=float(motion.longitudinal[i]),
            lateral_velocity_mps=float(motion.lateral[i]),
            acceleration_mps2=float(motion.acceleration[i]),
            heading_rate_rps=float(motion.heading_rate[i]),
        )
        for i, (seconds, pose) in enumerate(zip(forecast.horizons_s, poses, strict=True))
    ]
    header = Header(stamp=time_from_us(forecast.stamp_us), frame_id=ego_frame)
    return EgoTrajectory(header=header, points=points, status=status)
