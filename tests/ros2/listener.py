"""A subscriber process for tests: records what the node publishes until it is told to stop (SIGINT), then writes it.

python listener.py OUT.npz
"""

from __future__ import annotations

import sys
import time
import zlib

import numpy as np
import rclpy
from genie_msgs.msg import EgoTrajectory, OccupancyForecast, ScenePredictionStatus, SemanticOccupancy
from genie_ros import conversions, qos
from genie_ros.process import stop_on_signals
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2


def main() -> None:
    stop = stop_on_signals()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("listener")
    forecasts: list[tuple[float, OccupancyForecast]] = []
    trajectories: list[EgoTrajectory] = []
    statuses: list[ScenePredictionStatus] = []
    status_s: list[float] = []
    points: list[PointCloud2] = []

    def on_forecast(message: OccupancyForecast) -> None:
        arrival = time.monotonic()
        if not message.status.is_new_inference:
            message.data = message.data[:0]  # only new inferences are compared voxel by voxel
        forecasts.append((arrival, message))

    def on_status(message: ScenePredictionStatus) -> None:
        status_s.append(time.monotonic())
        statuses.append(message)

    def on_odometry(message: Odometry) -> None:
        odometry_s.append(time.monotonic())
        odometry.append(message)

    odometry: list[Odometry] = []
    odometry_s: list[float] = []
    observed: list[int] = []
    deep = QoSProfile(depth=100)
    loss_tolerant = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Odometry, "/geniedrive/input/odometry", on_odometry, loss_tolerant)
    node.create_subscription(
        SemanticOccupancy,
        "/geniedrive/input/occupancy",
        lambda m: observed.append(conversions.us_from_time(m.header.stamp)),
        loss_tolerant,
    )
    node.create_subscription(OccupancyForecast, "/geniedrive/output/forecast", on_forecast, qos.OUTPUT)
    node.create_subscription(EgoTrajectory, "/geniedrive/output/ego_trajectory", trajectories.append, deep)
    node.create_subscription(ScenePredictionStatus, "/geniedrive/output/status", on_status, deep)
    node.create_subscription(PointCloud2, "/geniedrive/output/occupied_points", points.append, deep)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    print("listening", flush=True)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    rclpy.shutdown()
    inputs = {
        "odometry_s": np.array(odometry_s),
        "status_s": np.array(status_s),
        "odometry_us": np.array([conversions.us_from_time(m.header.stamp) for m in odometry], dtype=np.int64),
        "odometry_pose": np.array([conversions.matrix_from_pose(m.pose.pose) for m in odometry]),
        "observed_us": np.array(observed, dtype=np.int64),
    }
    np.savez(sys.argv[1], **inputs, **outputs(forecasts, trajectories, statuses, points))


def outputs(
    forecasts: list[tuple[float, OccupancyForecast]],
    trajectories: list[EgoTrajectory],
    statuses: list[ScenePredictionStatus],
    points: list[PointCloud2],
) -> dict[str, np.ndarray]:
    stamp = conversions.us_from_time
    arrays: dict[str, np.ndarray] = {
        "arrival_s": np.array([arrival for arrival, _ in forecasts]),
        "stamp_us": np.array([stamp(m.header.stamp) for _, m in forecasts], dtype=np.int64),
        "observation_us": np.array([stamp(m.status.observation_stamp) for _, m in forecasts], dtype=np.int64),
        "is_new": np.array([m.status.is_new_inference for _, m in forecasts], dtype=bool),
        "inference_id": np.array([m.status.inference_id for _, m in forecasts], dtype=np.int64),
        "times_s": np.array([[conversions.s_from_duration(d) for d in m.time_from_start] for _, m in forecasts]),
        "ego_poses": np.array([[conversions.matrix_from_pose(p) for p in m.ego_poses] for _, m in forecasts]),
        "confidence": np.array([np.asarray(m.confidence) for _, m in forecasts if m.status.is_new_inference]),
        "trajectory_stamp_us": np.array([stamp(m.header.stamp) for m in trajectories], dtype=np.int64),
        "trajectory_poses": np.array([[conversions.matrix_from_pose(p.pose) for p in m.points] for m in trajectories]),
        "trajectory_speed": np.array([[p.longitudinal_velocity_mps for p in m.points] for m in trajectories]),
        "status_level": np.array([m.level for m in statuses], dtype=np.int64),
        "status_observation_us": np.array([stamp(m.observation_stamp) for m in statuses], dtype=np.int64),
        "status_id": np.array([m.inference_id for m in statuses], dtype=np.int64),
        "status_inferences": np.array([m.inference_count for m in statuses], dtype=np.int64),
        "status_published": np.array([m.published_count for m in statuses], dtype=np.int64),
        "status_rejected": np.array([m.rejected_count for m in statuses], dtype=np.int64),
        "status_reasons": np.array([",".join(m.reasons) for m in statuses], dtype=np.str_),
        "points_stamp_us": np.array([stamp(m.header.stamp) for m in points], dtype=np.int64),
        "points_count": np.array([m.width for m in points], dtype=np.int64),
    }
    for _, m in forecasts:
        if m.status.is_new_inference:
            packed = zlib.compress(memoryview(m.data), 1)
            arrays[f"data_{m.status.inference_id}"] = np.frombuffer(packed, dtype=np.uint8)
    return arrays


if __name__ == "__main__":
    main()
