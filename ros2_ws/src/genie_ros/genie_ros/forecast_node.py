"""The lifecycle node: occupancy and odometry in, forecasts at a steady rate out.

    configure    loads the bundle (its manifest is verified), warms up
    activate     subscribes, starts the timer; one thread runs callbacks, a second one inference
    deactivate   stops both
    cleanup      frees the engine

It converts, calls and publishes. What it calls: deploy.pipeline.Pipeline and deploy.live.LiveForecaster.
"""

from __future__ import annotations

import sys
import traceback
from array import array
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Protocol

import numpy as np
import rclpy
from genie_msgs.msg import EgoTrajectory, OccupancyForecast, ScenePredictionStatus, SemanticOccupancy
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2

from calib.errors import InputError
from deploy.live import ForecastEngine, LiveForecaster, Tick, stuck
from deploy.orin.health import Heartbeat
from deploy.stamps import DataClock, ExternalClock, Verdict
from genie_ros import conversions, parameters, qos
from genie_ros.process import exit_code_of, ros_context, stop_on_signals
from perception.types import SceneForecast

NODE_NAME = "geniedrive"
WARN_PERIOD_S = 2.0


class Engine(ForecastEngine, Protocol):
    def warm_up(self) -> None: ...


EngineFactory = Callable[[Path, int, str], Engine]


def load_pipeline(bundle: Path, threads: int, backend: str) -> Engine:
    from deploy.pipeline import Pipeline

    return Pipeline(bundle, threads=threads, backend=backend)


Transition = Callable[["ForecastNode", LifecycleState], TransitionCallbackReturn]


def loud(transition: Transition) -> Transition:
    """rclpy turns an exception in a transition into ERROR without a word; here it is logged first."""

    @wraps(transition)
    def logged(node: ForecastNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            raise

    return logged


class ForecastNode(LifecycleNode):
    """Topics under ~/input and ~/output; see the README of this package."""

    def __init__(self, engine_factory: EngineFactory = load_pipeline, name: str = NODE_NAME) -> None:
        super().__init__(name)
        parameters.declare(self)
        self.heartbeat = Heartbeat()
        self._engine_factory = engine_factory
        self._engine: Engine | None = None
        self._live: LiveForecaster | None = None
        self._inputs: list[rclpy.subscription.Subscription] = []
        self._timer: rclpy.timer.Timer | None = None
        self._packed: tuple[NDArray[np.uint8], array[int] | array[float]] | None = None
        self._failure_told = False
        self.configure_error: InputError | None = None

    # --- transitions ---

    @loud
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.configure_error = None
        try:
            self._chosen = parameters.read(self)
            chosen = self._chosen
            self._engine = self._engine_factory(Path(chosen.bundle_path), chosen.threads, chosen.backend)
            self._engine.warm_up()
        except InputError as error:
            self._engine, self.configure_error = None, error
            self.get_logger().error(f"cannot be configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._forecasts = self.create_lifecycle_publisher(OccupancyForecast, "~/output/forecast", qos.OUTPUT)
        self._trajectories = self.create_lifecycle_publisher(EgoTrajectory, "~/output/ego_trajectory", qos.OUTPUT)
        self._statuses = self.create_lifecycle_publisher(ScenePredictionStatus, "~/output/status", qos.OUTPUT)
        self._points = self.create_lifecycle_publisher(PointCloud2, "~/output/occupied_points", qos.OUTPUT)
        self.get_logger().info(
            f"configured: bundle {self._engine.bundle_id}, stamps against the {self._chosen.stamp_clock} clock"
        )
        return TransitionCallbackReturn.SUCCESS

    @loud
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._engine is not None  # the state machine allows no other
        chosen = self._chosen
        clock = DataClock() if chosen.stamp_clock == "data" else ExternalClock(self._ros_now_us)
        self._live = LiveForecaster(self._engine, clock, chosen.limits)
        self._failure_told = False
        self._inputs = [
            self.create_subscription(SemanticOccupancy, "~/input/occupancy", self._on_occupancy, qos.OCCUPANCY_INPUT),
            self.create_subscription(Odometry, "~/input/odometry", self._on_odometry, qos.ODOMETRY_INPUT),
        ]
        # Steady: the output rate is the machine's, whatever /clock does.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0 / chosen.publish_rate, self._on_timer, clock=steady)
        return super().on_activate(state)

    @loud
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    @loud
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._free()

    @loud
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return self._free()

    def _stop(self) -> None:
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._live is not None:
            self._live.close()
            self._live = None
        self._packed = None

    def _free(self) -> TransitionCallbackReturn:
        if self._engine is not None:
            self._engine = None
            for publisher in (self._forecasts, self._trajectories, self._statuses, self._points):
                self.destroy_lifecycle_publisher(publisher)
        return TransitionCallbackReturn.SUCCESS

    # --- input ---

    def _ros_now_us(self) -> int:
        return self.get_clock().now().nanoseconds // 1000

    def _on_odometry(self, message: Odometry) -> None:
        assert self._live is not None
        try:
            world_from_ego = conversions.matrix_from_pose(message.pose.pose)
        except InputError as error:
            self._refuse(error)
            return
        verdict = self._live.offer_odometry(conversions.us_from_time(message.header.stamp), world_from_ego)
        if verdict is Verdict.RESTARTED:
            self.get_logger().warning("the stamps of the odometry began anew: history and forecast are dropped")
        else:
            self._tell("odometry", verdict)

    def _on_occupancy(self, message: SemanticOccupancy) -> None:
        assert self._live is not None
        try:
            occupancy = conversions.occupancy_from_message(message, self._chosen.ego_frame)
        except InputError as error:
            self._refuse(error)
            return
        verdict = self._live.offer_occupancy(conversions.us_from_time(message.header.stamp), occupancy)
        self._tell("occupancy", verdict)

    def _refuse(self, error: InputError) -> None:
        assert self._live is not None
        self._live.reject()
        self.get_logger().warning(f"input refused: {error}", throttle_duration_sec=WARN_PERIOD_S)

    def _tell(self, topic: str, verdict: Verdict) -> None:
        if verdict is not Verdict.ACCEPTED:
            self.get_logger().warning(
                f"{topic} refused, stamp {verdict.value.replace('_', ' ')}", throttle_duration_sec=WARN_PERIOD_S
            )

    # --- output ---

    def _on_timer(self) -> None:
        assert self._live is not None
        tick = self._live.tick()
        if tick.failure is not None and not self._failure_told:
            self._failure_told = True
            self.get_logger().error(f"inference failed, FAULT until the node is activated again: {tick.failure!r}")
        self._publish(tick)
        # After publishing: a beat says that all of a tick went through.
        self.heartbeat.tick(not stuck(tick), f"{tick.status.level.name} {' '.join(tick.status.reasons)}".strip())

    def beat_while_inactive(self) -> None:
        """An inactive node has no ticks, and is well: whoever deactivated it does not want it restarted."""
        if self._timer is None:
            self.heartbeat.tick(True, "inactive")

    def _publish(self, tick: Tick) -> None:
        frame = self._chosen.ego_frame
        status = conversions.status_message(tick.status, frame)
        self._statuses.publish(status)
        forecast = tick.forecast
        if forecast is None:
            return
        self._trajectories.publish(conversions.trajectory_message(forecast, status, frame))
        # Megabytes are packed only for those who listen.
        if self._forecasts.get_subscription_count():
            data = self._packed_data(forecast)
            self._forecasts.publish(conversions.forecast_message(forecast, data, status, frame))
        if self._points.get_subscription_count():
            horizon_s = self.get_parameter("points_horizon").value
            self._points.publish(conversions.points_message(forecast, horizon_s, frame))

    def _packed_data(self, forecast: SceneForecast) -> array[int] | array[float]:
        """Packs the voxels once for as long as they stay the same array."""
        if self._packed is None or self._packed[0] is not forecast.semantics:
            self._packed = (forecast.semantics, conversions.forecast_data(forecast.semantics))
        return self._packed[1]


def run(arguments: list[str], engine_factory: EngineFactory = load_pipeline) -> int:
    """Runs the node until a signal. With --autostart it configures and activates itself: no launch is needed."""
    stop = stop_on_signals()
    autostart = "--autostart" in arguments
    with ros_context([a for a in arguments if a != "--autostart"]):
        node = ForecastNode(engine_factory)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if autostart:
            _start(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
            node.beat_while_inactive()
        node.heartbeat.stopping()
        node.trigger_shutdown()
        executor.shutdown()
        node.destroy_node()
    return 0


def _start(node: ForecastNode) -> None:
    if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
        if node.configure_error is not None:
            raise node.configure_error
        raise RuntimeError("the node could not be configured; see the log above")
    if node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
        raise RuntimeError("the node could not be activated; see the log above")


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
