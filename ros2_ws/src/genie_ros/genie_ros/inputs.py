"""The subscriptions of an active node: each message is converted and handed to the live forecaster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from genie_msgs.msg import DrivingCommand, SemanticOccupancy
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Empty

from calib.errors import InputError
from deploy import faults
from deploy.live import LiveForecaster
from deploy.stamps import Verdict
from genie_ros import conversions, topics
from genie_ros.qos import SubscriptionEventCallbacks
from genie_ros.topics import Topic

WARN_PERIOD_S = 2.0
Converted = TypeVar("Converted")


class Inputs:
    """Subscribes when it is made; `close` ends that."""

    def __init__(
        self, node: Node, live: LiveForecaster, ego_frame: str, cameras: int, on_mismatch: Callable[[Any], None]
    ) -> None:
        """
        Args:
            cameras: how many CameraInfo topics are listened to.
            on_mismatch: told at once of a publisher whose QoS does not suffice.
        """
        self._node, self._live, self._ego_frame = node, live, ego_frame
        self._events = SubscriptionEventCallbacks(incompatible_qos=on_mismatch, use_default_callbacks=False)
        self._subscriptions: list[Subscription] = []
        self.topics: list[Topic] = []
        self._listen(topics.OCCUPANCY, self._on_occupancy)
        self._listen(topics.ODOMETRY, self._on_odometry)
        self._listen(topics.COMMAND, self._on_command)
        self._listen(topics.RESET, self._on_reset)
        for index, topic in enumerate(topics.CAMERA_INFOS[:cameras]):
            self._listen(topic, self._camera_callback(index))

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _listen(self, topic: Topic, callback: Callable[[Any], None]) -> None:
        self.topics.append(topic)
        self._subscriptions.append(
            self._node.create_subscription(topic.type, topic.name, callback, topic.qos, event_callbacks=self._events)
        )

    def _on_odometry(self, message: Odometry) -> None:
        world_from_ego = self._converted(conversions.matrix_from_pose, message.pose.pose)
        if world_from_ego is None:
            return
        verdict = self._live.offer_odometry(conversions.us_from_time(message.header.stamp), world_from_ego)
        if verdict is Verdict.RESTARTED:
            self._node.get_logger().warning("the stamps of the odometry began anew: history and forecast are dropped")
        else:
            self._tell("odometry", verdict)

    def _on_occupancy(self, message: SemanticOccupancy) -> None:
        occupancy = self._converted(lambda m: conversions.occupancy_from_message(m, self._ego_frame), message)
        if occupancy is not None:
            verdict = self._live.offer_occupancy(conversions.us_from_time(message.header.stamp), occupancy)
            self._tell("occupancy", verdict)

    def _camera_callback(self, index: int) -> Callable[[CameraInfo], None]:
        def on_camera(message: CameraInfo) -> None:
            found = self._converted(conversions.intrinsics_from_message, message)
            if found is not None:
                verdict = self._live.offer_camera(index, conversions.us_from_time(message.header.stamp), found)
                self._tell(f"camera_info{index}", verdict)

        return on_camera

    def _on_command(self, message: DrivingCommand) -> None:
        try:
            self._live.tell_command(conversions.command_from_message(message))
        except InputError as error:
            self._refuse(error)

    def _on_reset(self, _message: Empty) -> None:
        self._node.get_logger().info("a reset was asked for: history and forecast are dropped")
        self._live.flush(faults.RESET_REQUESTED)

    def _converted(self, convert: Callable[[Any], Converted], message: Any) -> Converted | None:
        """None, counted and told, where the message is malformed."""
        try:
            return convert(message)
        except InputError as error:
            self._refuse(error)
            return None

    def _refuse(self, error: InputError) -> None:
        self._live.reject()
        self._node.get_logger().warning(f"input refused: {error}", throttle_duration_sec=WARN_PERIOD_S)

    def _tell(self, topic: str, verdict: Verdict) -> None:
        if verdict is not Verdict.ACCEPTED:
            self._node.get_logger().warning(
                f"{topic} refused, stamp {verdict.value.replace('_', ' ')}", throttle_duration_sec=WARN_PERIOD_S
            )
