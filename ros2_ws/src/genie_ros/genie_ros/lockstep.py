"""Listens to the node that replay feeds: waits for the forecast of a frame, and records what is told into a bag."""

from __future__ import annotations

import time
from typing import Any

from genie_msgs.msg import OccupancyForecast
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message

from calib.errors import CheckFailed
from genie.data.bag.layout import FORECAST_TYPE, Channel
from genie.data.bag.write import BagWriter
from genie_ros import conversions

AGAIN_S = 2.0  # inputs are best effort: what was lost is sent again
PATIENCE_S = 120.0


class ForecastEar:
    """Belongs to the thread that publishes: messages are taken while it waits."""

    def __init__(self, node: Node, target: str, bag: BagWriter | None) -> None:
        """bag: where forecasts and odometry are written; log times are the machine's, so that latency can be read."""
        self._bag, self._answered_us, self._heard = bag, -1, 0
        self._expected: set[int] = set()
        self._forecasts = Channel(f"/{target}/output/forecast", FORECAST_TYPE)
        self._odometry = Channel(f"/{target}/input/odometry", "nav_msgs/msg/Odometry")
        node.create_subscription(
            OccupancyForecast, self._forecasts.topic, self._on_forecast, QoSProfile(depth=100), raw=True
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._node = node

    def close(self) -> None:
        self._executor.shutdown()

    def listening(self) -> bool:
        """Whether the node's forecasts would be heard."""
        return bool(self._node.count_publishers(self._forecasts.topic))

    def expect(self, frame_us: int) -> None:
        """A frame of this stamp is published now. Forecasts of others are of an earlier play: the node repeats the last
        one until it has new input."""
        self._expected.add(frame_us)

    def note_odometry(self, message: Any) -> None:
        """What was published, as a message or its bytes."""
        if self._bag is not None:
            data = message if isinstance(message, bytes) else serialize_message(message)
            self._bag.write(time.time_ns() // 1000, self._odometry, bytes(data))

    def take(self) -> None:
        """What has come meanwhile; does not wait."""
        while True:
            before = self._heard
            self._executor.spin_once(timeout_sec=0.0)
            if before == self._heard:
                return

    def await_forecast(self, frame_us: int, send_again: Any) -> None:
        """Until the forecast that rests on the frame of this stamp was heard.

        Raises:
            CheckFailed: it does not come, however often the frame is sent.
        """
        deadline, again_s = time.monotonic() + PATIENCE_S, time.monotonic() + AGAIN_S
        while self._answered_us != frame_us:
            self._executor.spin_once(timeout_sec=0.05)
            now_s = time.monotonic()
            if now_s > deadline:
                raise CheckFailed(
                    f"no forecast of the frame at {frame_us} us in {PATIENCE_S:.0f} s: is the node active?"
                )
            if now_s > again_s:
                again_s = now_s + AGAIN_S
                send_again()

    def _on_forecast(self, data: bytes) -> None:
        self._heard += 1
        message = deserialize_message(data, OccupancyForecast)
        observed_us = conversions.us_from_time(message.status.observation_stamp)
        if observed_us not in self._expected:
            return
        is_first = observed_us != self._answered_us
        self._answered_us = observed_us
        if self._bag is not None and is_first:  # not each time that it is told again: megabytes
            self._bag.write(time.time_ns() // 1000, self._forecasts, bytes(data))
