"""The lifecycle node that sees: images, lidar and odometry in, occupancy for the forecast node out.

A process of its own: numpy keeps the interpreter for milliseconds at a time while it prepares sweeps and images, and
who publishes 30 forecasts a second must not wait for that (docs/decisions/015-perception-in-its-own-process.md).

It converts, calls and publishes. What it calls: deploy.live_perception.LivePerception.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from genie_msgs.msg import OccupancyForecast
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, PointCloud2

from calib.errors import InputError
from calib.rig import Rig
from calib.rig_file import load_rig
from deploy import faults
from deploy.live_perception import LivePerception
from deploy.perceive import Perception
from deploy.perception_findings import PerceptionState, findings
from deploy.stamps import DataClock, ExternalClock, Verdict
from genie_ros import conversions, parameters, perception_parameters, topics
from genie_ros.diagnostics import DiagnosticsTopic
from genie_ros.lifecycle import loud, start
from genie_ros.process import exit_code_of, ros_context, stop_on_signals
from genie_ros.sensor_conversions import foreseen_from_message, image_from_message, points_from_message

NODE_NAME = "geniedrive_perception"
WARN_PERIOD_S = 2.0


class PerceptionNode(LifecycleNode):
    """Topics under ~/input and ~/output; see the README of this package."""

    def __init__(self, name: str = NODE_NAME) -> None:
        super().__init__(name)
        parameters.declare(self, perception_parameters.PERCEPTION_PARAMETERS)
        self._perception: Perception | None = None
        self._live: LivePerception | None = None
        self._heard: list[Subscription] = []
        self.configure_error: InputError | None = None
        self.failure: BaseException | None = None
        self._told_s = 0.0
        self._state = PerceptionState("unconfigured")
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        diagnostics = self.create_publisher(
            DiagnosticArray, topics.PERCEPTION_DIAGNOSTICS.name, topics.PERCEPTION_DIAGNOSTICS.qos
        )
        self._diagnostics = DiagnosticsTopic(diagnostics, self.get_name())
        self.create_timer(faults.DIAGNOSTICS_S, self._tell_diagnostics, clock=self._steady_clock)
        # Set off by the thread of perception: what it found is published at once, by the thread of the callbacks.
        self._found = self.create_guard_condition(self._on_result)

    # --- transitions ---

    @loud
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.configure_error = None
        try:
            self._chosen = chosen = perception_parameters.read(self)
            self._rig: Rig = load_rig(chosen.rig_path)
            self._perception = Perception(chosen.perception_path, self._rig, threads=chosen.threads)
            self._publisher = self.create_lifecycle_publisher(
                topics.PERCEIVED.type, topics.PERCEIVED.name, topics.PERCEIVED.qos
            )
        except InputError as error:
            self.configure_error = error
            self.get_logger().error(f"cannot be configured: {error}")
            self._tell_diagnostics()
            return TransitionCallbackReturn.FAILURE
        self._perception.warm_up()
        self.get_logger().info(f"configured: perception {chosen.perception_path}, rig {self._rig.name}")
        return TransitionCallbackReturn.SUCCESS

    @loud
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._perception is not None  # the state machine allows no other
        chosen, self.failure = self._chosen, None
        clock = DataClock() if chosen.stamp_clock == "data" else ExternalClock(self._now_us)
        self._live = LivePerception(
            self._perception, self._rig, chosen.lidar, clock, chosen.limits, on_result=self._found.trigger
        )
        self._told_s = time.monotonic()
        # In this order they are asked for messages: what a frame is made of comes before what sets it off.
        for index, name in enumerate(self._live.cameras[: len(topics.IMAGES)]):
            self._listen(topics.IMAGES[index], self._image_callback(name))
        self._listen(topics.POINTCLOUD, self._on_points)
        self._listen(topics.ODOMETRY, self._on_odometry)
        self._listen(topics.EXPECTED, self._on_expected)
        return super().on_activate(state)

    @loud
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    @loud
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._perception = None
        self.destroy_lifecycle_publisher(self._publisher)
        return TransitionCallbackReturn.SUCCESS

    @loud
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._perception = None
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        for subscription in self._heard:
            self.destroy_subscription(subscription)
        self._heard = []
        if self._live is not None:
            self._live.close()
            self._live = None

    def _now_us(self) -> int:
        return self.get_clock().now().nanoseconds // 1000

    # --- input ---

    def _listen(self, topic: topics.Topic, callback: Callable[[Any], None]) -> None:
        self._heard.append(self.create_subscription(topic.type, topic.name, callback, topic.qos))

    def _image_callback(self, camera: str) -> Callable[[CompressedImage], None]:
        def on_image(message: CompressedImage) -> None:
            decode = partial(image_from_message, message)
            self._offer(message, camera, lambda live, stamp: live.offer_image(camera, stamp, decode))

        return on_image

    def _on_points(self, message: PointCloud2) -> None:
        self._offer(message, "pointcloud", lambda live, stamp: live.offer_sweep(stamp, points_from_message(message)))

    def _on_odometry(self, message: Odometry) -> None:
        def offered(live: LivePerception, stamp_us: int) -> Verdict:
            return live.offer_odometry(stamp_us, conversions.matrix_from_pose(message.pose.pose))

        self._offer(message, "odometry", offered)

    def _on_expected(self, message: OccupancyForecast) -> None:
        """Judged where it is used: by its time, and by the odometry of its stamp."""
        assert self._live is not None
        try:
            steps = foreseen_from_message(message, self._chosen.ego_frame)
        except InputError as error:
            self._live.reject()
            self.get_logger().warning(f"forecast refused: {error}", throttle_duration_sec=WARN_PERIOD_S)
            return
        for step in steps:
            self._live.offer_foreseen(step)

    def _offer(self, message: Any, what: str, offered: Callable[[LivePerception, int], Verdict]) -> None:
        """Counted and told where it is malformed, or its stamp is not believed."""
        assert self._live is not None
        log = self.get_logger()
        try:
            verdict = offered(self._live, conversions.us_from_time(message.header.stamp))
        except InputError as error:
            self._live.reject()
            log.warning(f"{what} refused: {error}", throttle_duration_sec=WARN_PERIOD_S)
            return
        if verdict is Verdict.RESTARTED:
            log.warning("the stamps of the odometry began anew: what was known is dropped")
        elif verdict is not Verdict.ACCEPTED:
            words = verdict.value.replace("_", " ")
            log.warning(f"{what} refused, stamp {words}", throttle_duration_sec=WARN_PERIOD_S)

    # --- output ---

    def _on_result(self) -> None:
        if self._live is None or self.failure is not None:
            return
        try:
            perceived = self._live.take()
        except Exception as error:  # the forecast node holds, then falls silent; whoever starts us may start us anew
            self.failure = error
            self.get_logger().error(f"perception failed: {error!r}")
            return
        if perceived is None:
            return
        for words in perceived.refused:
            self._live.reject()
            self.get_logger().warning(f"image refused: {words}", throttle_duration_sec=WARN_PERIOD_S)
        if perceived.occupancy is None:
            return
        message = conversions.occupancy_message(
            perceived.stamp_us, perceived.occupancy.semantics, self._chosen.ego_frame
        )
        self._publisher.publish(message)
        self._told_s = time.monotonic()
        self._state = PerceptionState(
            "active", seen=perceived, expected_cameras=self._live.read, expects_lidar=self._live.reads_lidar
        )

    def _tell_diagnostics(self) -> None:
        lifecycle = "active" if self._live else "inactive" if self._perception else "unconfigured"
        told = findings(
            self._state.now(
                lifecycle,
                refused=str(self.configure_error or self.failure or ""),
                silent_s=time.monotonic() - self._told_s,
                rejected=self._live.rejected if self._live else 0,
                skipped=self._live.skipped if self._live else 0,
                frames=self._live.frames if self._live else 0,
            ),
            self._chosen.max_silence_s if self._live else 0.0,
        )
        self._diagnostics.tell(told, self.get_clock().now().to_msg())


def run(arguments: list[str]) -> int:
    """Runs the node until a signal, or until perception fails. --autostart: it configures and activates itself."""
    stop = stop_on_signals()
    with ros_context([a for a in arguments if a != "--autostart"]):
        node = PerceptionNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if "--autostart" in arguments:
            start(node, lambda: node.configure_error)
        while not stop.is_set() and node.failure is None:
            executor.spin_once(timeout_sec=0.2)
        failed = node.failure
        node.trigger_shutdown()
        executor.shutdown()
        node.destroy_node()
    return 0 if failed is None else 1


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
