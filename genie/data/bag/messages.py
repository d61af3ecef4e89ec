"""Parts of a scene as ROS 2 messages, in the classes of rosbags' typestore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import inverse, quaternion_from_rotation, se3
from genie.data.bag.layout import BASE, MAP, ODOM, optical, typestore
from genie.data.bag.source import Imu, Poses, Reading
from genie.data.tracks import Boxes
from perception.types import CLASS_NAMES, GRID

Array = NDArray[np.float64]
LABEL_SCHEMA = "occ3d-nuscenes"
# x right, y forward becomes x forward, y left: a quarter turn about z.
FORWARD_FROM_NUSCENES = se3(np.zeros(3), np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
MARKER_S = 0.6  # keyframes are half a second apart; then a box is gone
CUBE = 1
_POINT = np.dtype([("xyz", "<f4", 3), ("intensity", "<f4"), ("ring", "<u2"), ("_", "<u2")])


def make(kind: str, /, **fields: Any) -> Any:
    return typestore().types[kind](**fields)


def header(stamp_us: int, frame: str) -> Any:
    return make("std_msgs/msg/Header", stamp=time(stamp_us), frame_id=frame)


def time(stamp_us: int) -> Any:
    return make("builtin_interfaces/msg/Time", sec=int(stamp_us // 1_000_000), nanosec=int(stamp_us % 1_000_000) * 1000)


def vector(xyz: Array) -> Any:
    return make("geometry_msgs/msg/Vector3", x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def point(xyz: Any) -> Any:
    return make("geometry_msgs/msg/Point", x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def quaternion(wxyz: Any) -> Any:
    w, x, y, z = (float(v) for v in wxyz)
    return make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def pose(target_from_source: Array) -> Any:
    rotation = quaternion_from_rotation(target_from_source[:3, :3])
    return make("geometry_msgs/msg/Pose", position=point(target_from_source[:3, 3]), orientation=quaternion(rotation))


def transform(stamp_us: int, parent: str, child: str, parent_from_child: Array) -> Any:
    return make(
        "geometry_msgs/msg/TransformStamped", header=header(stamp_us, parent), child_frame_id=child,
        transform=make(
            "geometry_msgs/msg/Transform", translation=vector(parent_from_child[:3, 3]),
            rotation=quaternion(quaternion_from_rotation(parent_from_child[:3, :3])),
        ),
    )  # fmt: skip


def transforms(of: list[Any]) -> Any:
    return make("tf2_msgs/msg/TFMessage", transforms=of)


def static_transforms(stamp_us: int, map_from_odom: Array, mounts: dict[str, tuple[str, Array]]) -> Any:
    """Where odom is, and where each sensor sits."""
    found = [transform(stamp_us, MAP, ODOM, map_from_odom)]
    for name, (modality, ego_from_sensor) in mounts.items():
        camera = modality == "camera"
        mount = ego_from_sensor if camera else ego_from_sensor @ inverse(FORWARD_FROM_NUSCENES)
        found.append(transform(stamp_us, BASE, optical(name) if camera else name, mount))
    return transforms(found)


def odometry(poses: Poses, i: int, odom_from_map: Array) -> Any:
    """Pose in odom; twist in base_link, from the poses around."""
    before, after = max(i - 1, 0), min(i + 1, len(poses.stamp_us) - 1)
    seconds = float(poses.stamp_us[after] - poses.stamp_us[before]) * 1e-6
    moved = inverse(poses.world_from_ego[before]) @ poses.world_from_ego[after]
    here_from_before = inverse(poses.world_from_ego[i]) @ poses.world_from_ego[before]
    turn = np.asarray(cv2.Rodrigues(moved[:3, :3])[0]).ravel() / seconds
    velocity = here_from_before[:3, :3] @ moved[:3, 3] / seconds
    twist = make("geometry_msgs/msg/Twist", linear=vector(velocity), angular=vector(turn))
    unknown = np.zeros(36)
    return make(
        "nav_msgs/msg/Odometry", header=header(int(poses.stamp_us[i]), ODOM), child_frame_id=BASE,
        pose=make(
            "geometry_msgs/msg/PoseWithCovariance", pose=pose(odom_from_map @ poses.world_from_ego[i]),
            covariance=unknown,
        ),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=unknown),
    )  # fmt: skip


def imu(of: Imu, i: int) -> Any:
    unknown = np.zeros(9)
    return make(
        "sensor_msgs/msg/Imu", header=header(int(of.stamp_us[i]), BASE), orientation=quaternion(of.orientation[i]),
        orientation_covariance=unknown, angular_velocity=vector(of.rate[i]), angular_velocity_covariance=unknown,
        linear_acceleration=vector(of.accel[i]), linear_acceleration_covariance=unknown,
    )  # fmt: skip


def compressed_image(reading: Reading) -> Any:
    """The file as it is: nothing is compressed again."""
    kind = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}.get(reading.path.suffix.lower())
    if kind is None:
        raise InputError(
            f"an image that ends in {reading.path.suffix!r}", expected=".jpg or .png", fix="convert it",
            path=reading.path,
        )  # fmt: skip
    data = np.frombuffer(reading.path.read_bytes(), np.uint8)
    return make(
        "sensor_msgs/msg/CompressedImage", header=header(reading.stamp_us, optical(reading.channel)), format=kind,
        data=data,
    )  # fmt: skip


def camera_info(reading: Reading) -> Any:
    """nuScenes' images are undistorted and of single cameras: D is zero, R the identity, P = [K | 0]."""
    assert reading.matrix is not None
    width, height = reading.size if all(reading.size) else _size_of(reading.path)
    projection = np.hstack([reading.matrix, np.zeros((3, 1))])
    return make(
        "sensor_msgs/msg/CameraInfo", header=header(reading.stamp_us, optical(reading.channel)), height=height,
        width=width, distortion_model="plumb_bob", d=np.zeros(5), k=reading.matrix.ravel(), r=np.eye(3).ravel(),
        p=projection.ravel(), binning_x=0, binning_y=0,
        roi=make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )  # fmt: skip


def _size_of(path: Path) -> tuple[int, int]:
    found = cv2.imread(str(path))
    if found is None:
        raise InputError("not an image", expected="a whole JPEG or PNG", fix="download it again", path=path)
    return found.shape[1], found.shape[0]


def point_cloud(reading: Reading) -> Any:
    """x, y, z (m, x forward), intensity, ring."""
    raw = np.fromfile(reading.path, np.float32)
    if raw.size % 5:
        raise InputError(
            f"{raw.size} numbers", expected="five for each point: x, y, z, intensity, ring", fix="download it again",
            path=reading.path,
        )  # fmt: skip
    rows = raw.reshape(-1, 5)
    points = np.zeros(len(rows), _POINT)
    points["xyz"] = rows[:, :3] @ FORWARD_FROM_NUSCENES[:3, :3].T.astype(np.float32)
    points["intensity"], points["ring"] = rows[:, 3], rows[:, 4].astype(np.uint16)
    fields = [("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 7), ("ring", 16, 4)]  # FLOAT32, UINT16
    return make(
        "sensor_msgs/msg/PointCloud2", header=header(reading.stamp_us, reading.channel), height=1, width=len(points),
        fields=[
            make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=kind, count=1)
            for name, offset, kind in fields
        ],
        is_bigendian=False, point_step=_POINT.itemsize, row_step=_POINT.itemsize * len(points),
        data=np.frombuffer(points.tobytes(), np.uint8), is_dense=bool(np.isfinite(rows).all()),
    )  # fmt: skip


def markers(stamp_us: int, boxes: Boxes) -> Any:
    """Annotated boxes in map; namespace: the class, id: the instance."""
    return make("visualization_msgs/msg/MarkerArray", markers=[_marker(stamp_us, boxes, i) for i in range(len(boxes))])


def _marker(stamp_us: int, boxes: Boxes, i: int) -> Any:
    name = CLASS_NAMES[int(boxes.class_id[i])]
    hue = np.array([[[int(boxes.class_id[i]) * 10, 200, 255]]], np.uint8)
    blue, green, red = (float(v) / 255 for v in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
    yaw = float(boxes.yaw_world[i])
    nothing = np.zeros(0, np.uint8)
    return make(
        "visualization_msgs/msg/Marker", header=header(stamp_us, MAP), ns=name, id=int(boxes.instance[i]), type=CUBE,
        action=0,
        pose=make(
            "geometry_msgs/msg/Pose", position=point(boxes.center_world[i]),
            orientation=quaternion((np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))),
        ),
        scale=vector(boxes.size_lwh[i]), color=make("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=0.5),
        lifetime=make("builtin_interfaces/msg/Duration", sec=0, nanosec=int(MARKER_S * 1e9)), frame_locked=False,
        points=[], colors=[], texture_resource="",
        texture=make("sensor_msgs/msg/CompressedImage", header=header(0, ""), format="", data=nothing),
        uv_coordinates=[], text=name, mesh_resource="",
        mesh_file=make("visualization_msgs/msg/MeshFile", filename="", data=nothing),
        mesh_use_embedded_materials=False,
    )  # fmt: skip


def occupancy(stamp_us: int, semantics: NDArray[np.uint8]) -> Any:
    """semantics: uint8 [X, Y, Z], in base_link of that stamp."""
    grid = make(
        "genie_msgs/msg/VoxelGridInfo", size_x=GRID.shape[0], size_y=GRID.shape[1], size_z=GRID.shape[2],
        voxel_size=GRID.voxel_size, origin=point(GRID.origin),
    )  # fmt: skip
    data = np.ascontiguousarray(semantics.transpose(2, 1, 0)).ravel()
    return make(
        "genie_msgs/msg/SemanticOccupancy", header=header(stamp_us, BASE), grid=grid, label_schema=LABEL_SCHEMA,
        data=data,
    )  # fmt: skip
