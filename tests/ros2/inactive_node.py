"""The node with a real engine, configured and not activated, until SIGINT.

python inactive_node.py BUNDLE
"""

from __future__ import annotations

import sys

from genie_ros.forecast_node import ForecastNode
from genie_ros.process import ros_context, stop_on_signals
from rclpy.executors import SingleThreadedExecutor


def main(bundle: str) -> None:
    stop = stop_on_signals()
    with ros_context(["--ros-args", "-p", f"bundle_path:={bundle}", "-p", "threads:=1"]):
        node = ForecastNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.trigger_configure()
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
            node.beat_while_inactive()
        node.trigger_shutdown()
        executor.shutdown()
        node.destroy_node()


if __name__ == "__main__":
    main(sys.argv[1])
