"""A subscriber process for the soak test: numbers alone, no contents, so that hours of them fit. Ends with SIGINT.

The megabytes are taken as the bytes that came, as a recorder does: a Python object of each forecast costs 4 ms of the
two cores that node and replay are measured on. What is in them is looked at in test_replay_and_node.py.

python soak_listener.py OUT.npz
"""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from genie_msgs.msg import OccupancyForecast, ScenePredictionStatus
from genie_ros import qos
from genie_ros.process import stop_on_signals
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64


def main() -> None:
    stop = stop_on_signals()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("soak_listener")
    forecasts: list[float] = []
    points: list[float] = []
    statuses: list[tuple[float, int, int, int, int]] = []

    def on_status(message: ScenePredictionStatus) -> None:
        counts = (message.published_count, message.inference_count, message.rejected_count)
        statuses.append((time.monotonic(), message.level, *counts))

    latencies: list[float] = []
    publishing: list[float] = []

    def on_diagnostics(message: DiagnosticArray) -> None:
        found = {v.key: v.value for s in message.status if s.name.endswith("processing_time") for v in s.values}
        if "publish_ms" in found:
            publishing.append(float(found["publish_ms"]))

    received: list[float] = []

    def on_forecast(_: bytes, info: dict[str, int]) -> None:
        """When the middleware of this process had it, and when Python was told, which is ours and not the node's."""
        received.append(info["received_timestamp"] * 1e-9)
        forecasts.append(time.monotonic())

    deep = QoSProfile(depth=100)
    node.create_subscription(Float64, "/geniedrive/debug/pipeline_latency_ms", lambda m: latencies.append(m.data), deep)
    node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, deep)
    node.create_subscription(OccupancyForecast, "/geniedrive/output/forecast", on_forecast, qos.OUTPUT, raw=True)
    node.create_subscription(
        PointCloud2, "/geniedrive/output/occupied_points", lambda _: points.append(time.monotonic()), deep,
        raw=True,
    )  # fmt: skip
    node.create_subscription(ScenePredictionStatus, "/geniedrive/output/status", on_status, deep)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    print("listening", flush=True)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    rclpy.shutdown()
    columns = np.array(statuses, dtype=np.float64).reshape(-1, 5).T
    np.savez(
        sys.argv[1],
        forecast_s=np.array(forecasts),
        received_s=np.array(received),
        points_s=np.array(points),
        latency_ms=np.array(latencies),
        publish_ms=np.array(publishing),
        **dict(zip(("status_s", "level", "published", "inferences", "rejected"), columns, strict=True)),
    )


if __name__ == "__main__":
    main()
