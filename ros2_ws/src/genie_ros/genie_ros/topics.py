"""Every topic of the node, once: its publishers and subscriptions are made from these tables, and those of README."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from genie_msgs.msg import DrivingCommand, EgoTrajectory, OccupancyForecast, ScenePredictionStatus, SemanticOccupancy
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from std_msgs.msg import Empty, Float64, String

from genie_ros import qos


@dataclass(frozen=True, eq=False)  # a topic is itself, and a key
class Topic:
    """name: private (~) names are remapped at launch. text: contents and units."""

    name: str
    type: Any
    qos: QoSProfile
    text: str

    @property
    def key(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def type_name(self) -> str:
        return f"{self.type.__module__.partition('.')[0]}/{self.type.__name__}"

    @property
    def qos_text(self) -> str:
        reliable = "reliable" if self.qos.reliability is ReliabilityPolicy.RELIABLE else "best effort"
        kept = "" if self.qos.durability is not DurabilityPolicy.TRANSIENT_LOCAL else ", transient local"
        assert self.qos.history is HistoryPolicy.KEEP_LAST
        return f"{reliable}, keep last {self.qos.depth}{kept}"


CAMERAS = 6
OCCUPANCY = Topic("~/input/occupancy", SemanticOccupancy, qos.SENSOR_INPUT, "the scene now, in the ego frame")
ODOMETRY = Topic("~/input/odometry", Odometry, qos.ODOMETRY_INPUT, "pose of the ego frame in a fixed frame (m)")
COMMAND = Topic("~/input/command", DrivingCommand, qos.COMMAND_INPUT, "left, straight or right; forgotten after a time")
RESET = Topic("~/input/reset_history", Empty, qos.COMMAND_INPUT, "drops the history")
INPUTS = (OCCUPANCY, ODOMETRY, COMMAND, RESET)
CAMERA_INFOS = tuple(
    Topic(
        f"~/input/camera_info{i}", CameraInfo, qos.SENSOR_INPUT,
        f"camera {i} of the rig is there and calibrated so; with `input_profile: occupancy_cameras` alone",
    )
    for i in range(CAMERAS)
)  # fmt: skip

# Of the perception node.
POINTCLOUD = Topic(
    "~/input/pointcloud", PointCloud2, qos.SENSOR_INPUT,
    "a revolution of the lidar in the frame of the rig's: x, y, z (m), intensity (0 to 255)",
)  # fmt: skip
IMAGES = tuple(
    Topic(f"~/input/image{i}", CompressedImage, qos.SENSOR_INPUT, f"JPEG or PNG of camera {i} of the rig, of its size")
    for i in range(CAMERAS)
)
PERCEIVED = Topic("~/output/occupancy", SemanticOccupancy, qos.OUTPUT, "the scene at the stamp, in the ego frame")
EXPECTED = Topic(
    "~/input/expected", OccupancyForecast, qos.EXPECTED_INPUT,
    "`~/output/next_step` of the forecast node: what was foreseen for now outweighs a doubtful look; may be absent",
)  # fmt: skip
SENSORS = (*IMAGES, POINTCLOUD, ODOMETRY)
PERCEPTION_INPUTS = (*SENSORS, EXPECTED)

FORECAST = Topic("~/output/forecast", OccupancyForecast, qos.OUTPUT, "all published steps, confidence, status")
NEXT_STEP = Topic(
    "~/output/next_step", OccupancyForecast, qos.OUTPUT, "the first step alone, of each new inference: for perception"
)
STATUS = Topic("~/output/status", ScenePredictionStatus, qos.OUTPUT, "with each tick, also in HOLD and FAULT")
TRAJECTORY = Topic("~/output/ego_trajectory", EgoTrajectory, qos.OUTPUT, "the predicted ego motion (m, m/s, rad/s)")
PATH = Topic("~/output/ego_path", Path, qos.OUTPUT, "the same, for displays")
STEP = Topic(
    "~/output/occupancy", SemanticOccupancy, qos.OUTPUT,
    "the step nearest to `points_horizon`; stamp: the time of that step; the ego frame of then",
)  # fmt: skip
POINTS = Topic(
    "~/output/occupied_points", PointCloud2, qos.OUTPUT,
    "x, y, z (m), class, of the occupied voxels of that step, in the ego frame of now",
)  # fmt: skip
BEV = Topic(
    "~/output/bev_grid", OccupancyGrid, qos.OUTPUT,
    "that step from above: 100 where anything but ground stands, 0 ground, -1 nothing known; the ego frame of then",
)  # fmt: skip
LABELS = Topic("~/output/labels", String, qos.LATCHED, "class names by id and their schema, as JSON")
PROCESSING = Topic("~/debug/processing_time_ms", Float64, qos.OUTPUT, "of each new inference")
CYCLE = Topic("~/debug/cyclic_time_ms", Float64, qos.OUTPUT, "between two ticks")
LATENCY = Topic(
    "~/debug/pipeline_latency_ms", Float64, qos.OUTPUT,
    "from the stamp of an observation to the publication of its forecast, by `stamp_clock`",
)  # fmt: skip
DIAGNOSTICS = Topic(
    "/diagnostics", DiagnosticArray, qos.DIAGNOSTICS, "seven components, twice a second and at each change"
)
PERCEPTION_DIAGNOSTICS = Topic(
    "/diagnostics", DiagnosticArray, qos.DIAGNOSTICS, "three components, twice a second and at each change"
)
PERCEPTION_OUTPUTS = (PERCEIVED, PERCEPTION_DIAGNOSTICS)
OUTPUTS = (
    FORECAST,
    NEXT_STEP,
    STATUS,
    TRAJECTORY,
    PATH,
    STEP,
    POINTS,
    BEV,
    LABELS,
    PROCESSING,
    CYCLE,
    LATENCY,
    DIAGNOSTICS,
)
