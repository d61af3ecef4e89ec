"""How long converting and publishing seven steps (4.5 MB) takes, with a subscriber in another process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from genie_msgs.msg import OccupancyForecast, ScenePredictionStatus
from genie_ros import conversions, qos

from perception.types import GRID, SceneForecast

STEPS, ROUNDS, LIMIT_MS = 7, 40, 10.0
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


def test_seven_steps_are_converted_and_published_in_ten_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
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
            publisher.publish(conversions.forecast_message(scene, data, status, "base_link"))
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
    # Beside much other work it is told, and not judged: caches are the others' then. The soak judges it on an idle one.
    if os.getloadavg()[0] < len(os.sched_getaffinity(0)):
        assert np.median(cpu) <= LIMIT_MS
    assert np.median(cpu) <= 4 * LIMIT_MS
