"""Converting and publishing seven steps (4.5 MB), with a subscriber in another process."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from genie_msgs.msg import OccupancyForecast, ScenePredictionStatus
from genie_ros import conversions, qos

from perception.types import GRID, SceneForecast

STEPS, ROUNDS, SLOW_BY_DESIGN_MS = 7, 40, 40.0
LISTENER = """
import rclpy, sys
from genie_msgs.msg import OccupancyForecast
from genie_ros import qos
rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(OccupancyForecast, "/timed/forecast", lambda m: None, qos.OUTPUT)
rclpy.spin(node)
"""


def forecast() -> SceneForecast:
    rng = np.random.default_rng(0)
    return SceneForecast(
        stamp_us=1_700_000_000_000_000,
        world_from_ego=np.eye(4),
        horizons_s=np.arange(1, STEPS + 1, dtype=np.float32) / 2,
        semantics=rng.integers(0, 18, (STEPS, *GRID.shape), dtype=np.uint8),
        trajectory=np.zeros((STEPS, 3), np.float32),
        confidence=np.full((STEPS, 50, 50), 0.5, np.float32),
        inference_id=1,
    )


def test_seven_steps_are_converted_and_published_as_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    rclpy.init()
    node = rclpy.create_node("timed")
    publisher = node.create_publisher(OccupancyForecast, "/timed/forecast", qos.OUTPUT)
    listener = subprocess.Popen([sys.executable, "-c", LISTENER])
    try:
        deadline = time.monotonic() + 20
        while not publisher.get_subscription_count():
            assert time.monotonic() < deadline, "no subscriber"
            time.sleep(0.05)
        scene, status = forecast(), ScenePredictionStatus()
        wall, cpu = [], []
        for _ in range(ROUNDS):
            begin = time.perf_counter(), time.thread_time()
            data = conversions.forecast_data(scene.semantics)
            poses = conversions.future_poses(scene)
            publisher.publish(conversions.forecast_message(scene, data, poses, status, "base_link"))
            wall.append((time.perf_counter() - begin[0]) * 1e3)
            cpu.append((time.thread_time() - begin[1]) * 1e3)
            time.sleep(0.02)
    finally:
        listener.kill()
        listener.wait()
        node.destroy_node()
        rclpy.shutdown()
    with capsys.disabled():
        print(f"\nseven steps: {np.median(wall):.1f} ms median, of it {np.median(cpu):.1f} ms of this thread's CPU")
    # `make soak` judges the 10 ms, on an idle machine. Here only what is slow by its way of doing it is caught: a list
    # in place of an array takes ten times as long.
    assert np.median(cpu) <= SLOW_BY_DESIGN_MS
