"""The lifecycle node: occupancy and odometry in, forecasts at a steady rate out.

    configure    checks bundle and rig, loads the engine, warms it up, has it reproduce its golden ticks
    activate     subscribes, starts the timer; one thread runs callbacks, a second one inference
    deactivate   stops both
    cleanup      frees the engine

It converts, calls and publishes. What it calls: deploy.pipeline.Pipeline, deploy.live.LiveForecaster, and
deploy.diagnosis for what /diagnostics says.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from calib.errors import InputError
from calib.rig import Rig
from deploy import faults
from deploy.cameras import CameraWatch, checked_rig
from deploy.diagnosis import Diagnosis, NodeState
from deploy.live import LiveForecaster
from deploy.live_status import ForecastEngine, Tick, stuck
from deploy.orin.health import Heartbeat
from deploy.stamps import DataClock, ExternalClock
from genie_ros import parameters, qos, topics
from genie_ros.diagnostics import DiagnosticsTopic
from genie_ros.inputs import Inputs
from genie_ros.lifecycle import loud, start
from genie_ros.outputs import Outputs
from genie_ros.parameters import NodeParameters
from genie_ros.process import exit_code_of, ros_context, stop_on_signals
from perception.types import SceneForecast

NODE_NAME = "geniedrive"
LOOK_AROUND_S = 1.0  # between two looks at who else is on our topics
# Whoever publishes waits for the interpreter after every array operation while the inference thread prepares a frame;
# as it comes, Python lets it wait 5 ms each time.
SWITCH_S = 0.0005


class Engine(ForecastEngine, Protocol):
    @property
    def rig_sha256(self) -> str | None: ...
    def warm_up(self) -> None: ...


EngineFactory = Callable[[NodeParameters], Engine]


def load_pipeline(chosen: NodeParameters) -> Engine:
    """InputError where the bundle is not whole, or does not compute here what it did where it was packed."""
    from deploy.pipeline import Pipeline
    from deploy.self_test import self_test

    pipeline = Pipeline(chosen.bundle_path, threads=chosen.threads, backend=chosen.backend)
    if chosen.golden_path is not None:
        self_test(pipeline.runtime, pipeline.runtime.manifest, chosen.golden_path)
    pipeline.bound(chosen.max_columns or None)  # after the test: what was recorded had no bound
    return pipeline


class ForecastNode(LifecycleNode):
    """Topics under ~/input and ~/output; see the README of this package."""

    def __init__(self, engine_factory: EngineFactory = load_pipeline, name: str = NODE_NAME) -> None:
        super().__init__(name)
        parameters.declare(self, parameters.PARAMETERS)
        self.heartbeat = Heartbeat()
        self._engine_factory = engine_factory
        self._engine: Engine | None = None
        self._rig: Rig | None = None
        self._live: LiveForecaster | None = None
        self._inputs: Inputs | None = None
        self._outputs: Outputs | None = None
        self._timer: rclpy.timer.Timer | None = None
        self._failure_told = False
        self._mismatches: list[str] = []
        self._last_tick_s = self._cycle_s = self._publish_s = 0.0
        self.configure_error: InputError | None = None
        self._blamed = faults.ENGINE
        # Diagnostics come from the start to the end, and by the machine's time: a clock that stands still is a fault.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnosis = Diagnosis(self.get_parameter("max_allowed_processing_time_ms").value)
        diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS.name, topics.DIAGNOSTICS.qos)
        self._diagnostics = DiagnosticsTopic(diagnostics, self.get_name())
        self.create_timer(faults.DIAGNOSTICS_S, self._beat_diagnostics, clock=self._steady)
        self.create_timer(LOOK_AROUND_S, self._look_around, clock=self._steady)

    # --- transitions ---

    @loud
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.configure_error, self._blamed = None, faults.ENGINE
        try:
            self._chosen = chosen = parameters.read(self)
            engine = self._engine_factory(chosen)
            self._blamed = faults.CALIBRATION
            self._rig = checked_rig(chosen.rig_path, engine.rig_sha256) if chosen.rig_path is not None else None
            if self._rig is not None and chosen.watch_cameras:
                self._rig.camera(chosen.front_camera)
            self._blamed = faults.ENGINE
            engine.warm_up()
        except InputError as error:
            self.configure_error = error
            self.get_logger().error(f"cannot be configured: {error}")
            self._tell_diagnostics(None)
            return TransitionCallbackReturn.FAILURE
        self._engine = engine
        self._outputs = Outputs(self, chosen, self._on_mismatch)
        self.get_logger().info(
            f"configured: bundle {self._engine.bundle_id}, stamps against the {self._chosen.stamp_clock} clock"
        )
        return TransitionCallbackReturn.SUCCESS

    @loud
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._engine is not None and self._outputs is not None  # the state machine allows no other
        chosen = self._chosen
        clock = DataClock() if chosen.stamp_clock == "data" else ExternalClock(self._ros_now_us)
        cameras = None
        if chosen.watch_cameras and self._rig is not None:
            cameras = CameraWatch(
                self._rig,
                chosen.front_camera,
                clock,
                max_age_us=chosen.limits.max_camera_age_us,
                future_tolerance_us=chosen.limits.future_tolerance_us,
            )
        self._live = LiveForecaster(self._engine, clock, chosen.limits, cameras=cameras, prepare=self._prepare)
        self._failure_told = False
        watched = len(cameras.names) if cameras is not None else 0
        self._inputs = Inputs(self, self._live, chosen.ego_frame, watched, self._on_mismatch)
        # Steady: the output rate is the machine's, whatever /clock does.
        self._timer = self.create_timer(1.0 / chosen.publish_rate, self._on_timer, clock=self._steady)
        activated = super().on_activate(state)
        self._outputs.tell_labels()
        return activated

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
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._live is not None:
            self._live.close()
            self._live = None
        self._last_tick_s = 0.0

    def _free(self) -> TransitionCallbackReturn:
        self._engine = None
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        return TransitionCallbackReturn.SUCCESS

    def _ros_now_us(self) -> int:
        return self.get_clock().now().nanoseconds // 1000

    # --- output ---

    def _prepare(self, forecast: SceneForecast) -> None:
        """In the inference thread, so that the ticks stay regular: packing takes a tenth of their time."""
        assert self._outputs is not None  # freed only after that thread has ended
        self._outputs.prepare(forecast, self.get_parameter("points_horizon").value)

    def _on_timer(self) -> None:
        assert self._live is not None and self._outputs is not None
        now_s = time.monotonic()
        self._cycle_s = now_s - self._last_tick_s if self._last_tick_s else 0.0
        self._last_tick_s = now_s
        tick = self._live.tick()
        self._tell_failure(tick)
        begin_s = time.perf_counter()
        self._outputs.publish(tick, self._cycle_s * 1e3, self.get_parameter("points_horizon").value)
        self._publish_s = time.perf_counter() - begin_s
        self._tell_diagnostics(tick)
        # After publishing: a beat says that all of a tick went through.
        self.heartbeat.tick(not stuck(tick), f"{tick.status.level.name} {' '.join(tick.status.reasons)}".strip())

    def _tell_failure(self, tick: Tick) -> None:
        if tick.failure is not None and not self._failure_told:
            self.get_logger().error(f"inference failed: {tick.failure!r}")
        self._failure_told = tick.failure is not None

    def beat_while_inactive(self) -> None:
        """An inactive node has no ticks, and is well: whoever deactivated it does not want it restarted."""
        if self._timer is None:
            self.heartbeat.tick(True, "inactive")

    # --- diagnostics ---

    def _beat_diagnostics(self) -> None:
        if self._timer is None:
            self._tell_diagnostics(None)

    def _tell_diagnostics(self, tick: Tick | None) -> None:
        active = tick is not None
        state = NodeState(
            lifecycle="active" if active else "inactive" if self._engine is not None else "unconfigured",
            refused=str(self.configure_error or ""),
            refused_by=self._blamed,
            mismatches=self._mismatches,
            publish_ms=self._publish_s * 1e3,
            cycle_ms=self._cycle_s * 1e3,
        )
        findings = self._diagnosis.findings(tick.status if tick is not None else None, state)
        self._diagnostics.tell(findings, self.get_clock().now().to_msg())

    def _on_mismatch(self, event: Any) -> None:
        """The graph tells who it is, where it is reliability or durability."""
        self.get_logger().error(f"another node's QoS does not fit ours: policy {event.last_policy_kind}")
        self._look_around()

    def _look_around(self) -> None:
        """Who asks for a QoS that is not offered; also how it is found that they have left."""
        offered = self._outputs.topics if self._outputs is not None else []
        requested = self._inputs.topics if self._inputs is not None else []
        found = qos.mismatches(self, self._profiles(offered), self._profiles(requested))
        for words in found:
            if words not in self._mismatches:
                self.get_logger().error(words)
        self._mismatches = found

    def _profiles(self, of: list[topics.Topic]) -> dict[str, rclpy.qos.QoSProfile]:
        return {self.resolve_topic_name(topic.name): topic.qos for topic in of}


def run(arguments: list[str], engine_factory: EngineFactory = load_pipeline) -> int:
    """Runs the node until a signal. With --autostart it configures and activates itself: no launch is needed."""
    stop = stop_on_signals()
    sys.setswitchinterval(SWITCH_S)
    autostart = "--autostart" in arguments
    with ros_context([a for a in arguments if a != "--autostart"]):
        node = ForecastNode(engine_factory)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if autostart:
            start(node, lambda: node.configure_error)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
            node.beat_while_inactive()
        node.heartbeat.stopping()
        node.trigger_shutdown()
        executor.shutdown()
        node.destroy_node()
    return 0


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
