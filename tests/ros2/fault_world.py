"""The rest of a car, for tests of faults: /clock, odometry, occupancy and six cameras at their rates, each of which can
be stopped or falsified, and ears for all that the node tells. A process of its own beside the node, over DDS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from genie_msgs.msg import OccupancyForecast, ScenePredictionStatus
from genie_ros import conversions, qos, topics
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from calib.rig import Rig
from calib.transforms import se3
from perception.types import CLASS_NAMES, FREE, GRID

# Slower than on a car, so that this runs beside other work; the rates of a car are those of the soak.
PERIODS_S = {"clock": 0.02, "odometry": 0.05, "occupancy": 0.3, **{f"camera{i}": 0.2 for i in range(6)}}
SPEED_MPS = 5.0
START_US = 1_700_000_000_000_000
NODE = "/geniedrive"


def town() -> np.ndarray:
    """Occupancy [X, Y, Z] that looks alike wherever one drives: a road and a wall."""
    out = np.full(GRID.shape, FREE, np.uint8)
    out[:, 85:115, 2] = CLASS_NAMES.index("driveable_surface")
    out[:, 80:83, 2:9] = CLASS_NAMES.index("manmade")
    return out


@dataclass
class Heard:
    """Arrivals, each with the monotonic second it came at."""

    statuses: list[tuple[float, ScenePredictionStatus]] = field(default_factory=list)
    forecasts: list[tuple[float, OccupancyForecast]] = field(default_factory=list)
    diagnostics: list[tuple[float, dict[str, tuple[int, str]]]] = field(default_factory=list)


class World:
    """Publishes from a thread of its own; callbacks run in a second one."""

    def __init__(self, rig: Rig) -> None:
        self.node = Node("fault_world")
        self.heard = Heard()
        self.off: set[str] = set()
        self.sent_s: dict[str, float] = {}  # when each stream last spoke
        self.clock_offset_us = 0
        self.position_offset_m = 0.0
        self.wrong_focal: dict[int, float] = {}
        self._rig = rig
        self._begin_s = time.monotonic()
        self._occupancy = conversions.occupancy_message(0, town(), "base_link")
        name = lambda topic: topic.name.replace("~", NODE)  # noqa: E731
        create = self.node.create_publisher
        self.clock = create(Clock, "/clock", qos.ODOMETRY_INPUT)
        self.odometry = create(topics.ODOMETRY.type, name(topics.ODOMETRY), qos.ODOMETRY_INPUT)
        self.occupancy = create(topics.OCCUPANCY.type, name(topics.OCCUPANCY), qos.SENSOR_INPUT)
        self.reset = create(topics.RESET.type, name(topics.RESET), qos.COMMAND_INPUT)
        self.command = create(topics.COMMAND.type, name(topics.COMMAND), qos.COMMAND_INPUT)
        self.cameras = [create(t.type, name(t), qos.SENSOR_INPUT) for t in topics.CAMERA_INFOS]
        deep = QoSProfile(depth=100)
        listen = self.node.create_subscription
        listen(ScenePredictionStatus, f"{NODE}/output/status", self._on_status, deep)
        listen(OccupancyForecast, f"{NODE}/output/forecast", self._on_forecast, deep)
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, deep)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._spin), threading.Thread(target=self._publish)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.executor.shutdown()
        self.node.destroy_node()

    # --- what happens ---

    def now_us(self) -> int:
        return START_US + round((time.monotonic() - self._begin_s) * 1e6) + self.clock_offset_us

    def monotonic_of(self, stamp_us: int) -> float:
        return self._begin_s + (stamp_us - START_US - self.clock_offset_us) * 1e-6

    def tell_odometry(self, stamp_us: int) -> None:
        seconds = (stamp_us - START_US - self.clock_offset_us) * 1e-6
        pose = se3(np.array([SPEED_MPS * seconds + self.position_offset_m, 0.0, 0.0]))
        self.odometry.publish(conversions.odometry_message(stamp_us, pose, "map", "base_link"))

    def tell_occupancy(self, stamp_us: int) -> None:
        self._occupancy.header.stamp = conversions.time_from_us(stamp_us)
        self.occupancy.publish(self._occupancy)

    def tell_camera(self, index: int, stamp_us: int) -> None:
        camera = self._rig.cameras[index].intrinsics
        (fx, fy), (cx, cy) = camera.focal, camera.centre
        fx += self.wrong_focal.get(index, 0.0)
        header = Header(stamp=conversions.time_from_us(stamp_us), frame_id=self._rig.cameras[index].name)
        message = CameraInfo(header=header, width=camera.size[0], height=camera.size[1], distortion_model="plumb_bob")
        message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
        message.d = [0.0] * 5
        self.cameras[index].publish(message)

    def _publish(self) -> None:
        due = dict.fromkeys(PERIODS_S, time.monotonic())
        while not self._stop.is_set():
            for name, period in PERIODS_S.items():
                if time.monotonic() >= due[name]:
                    due[name] = max(due[name] + period, time.monotonic() - period)
                    if name not in self.off:
                        self._tell(name)
            time.sleep(0.002)

    def _tell(self, name: str) -> None:
        stamp_us = self.now_us()
        if name == "clock":
            self.clock.publish(Clock(clock=conversions.time_from_us(stamp_us)))
        elif name == "odometry":
            self.tell_odometry(stamp_us)
        elif name == "occupancy":
            self.tell_occupancy(stamp_us)
        else:
            self.tell_camera(int(name.removeprefix("camera")), stamp_us)
        self.sent_s[name] = time.monotonic()

    # --- what is heard ---

    def _spin(self) -> None:
        while not self._stop.is_set():
            self.executor.spin_once(timeout_sec=0.05)

    def _on_status(self, message: ScenePredictionStatus) -> None:
        self.heard.statuses.append((time.monotonic(), message))

    def _on_forecast(self, message: OccupancyForecast) -> None:
        message.data = message.data[:0]
        self.heard.forecasts.append((time.monotonic(), message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        found = {s.name.partition(": ")[2]: (s.level[0], s.message) for s in message.status if "geniedrive" in s.name}
        self.heard.diagnostics.append((time.monotonic(), found))

    def await_status(
        self, wanted: Callable[[ScenePredictionStatus], bool], since_s: float, timeout_s: float = 15.0
    ) -> tuple[float, ScenePredictionStatus]:
        """The first status since then that is wanted. TimeoutError, with the last ones, if none comes."""
        return _await(self.heard.statuses, wanted, since_s, timeout_s)

    def await_diagnosis(
        self, component: str, lowest: int, highest: int, since_s: float, timeout_s: float = 15.0
    ) -> tuple[float, str]:
        """When a component was first told at such a level since then, and in which words."""
        at_s, found = _await(
            self.heard.diagnostics, lambda d: lowest <= d.get(component, (-1, ""))[0] <= highest, since_s, timeout_s
        )
        return at_s, found[component][1]

    def await_ok(self, timeout_s: float = 30.0) -> float:
        """When the level is OK again, and all of /diagnostics is (the time of an inference apart: machines differ)."""
        since_s = time.monotonic()
        at_s, _ = self.await_status(lambda s: s.level == 0, since_s, timeout_s)
        quiet = lambda d: all(level == 0 for name, (level, _) in d.items() if name != "processing_time")  # noqa: E731
        _await(self.heard.diagnostics, lambda d: bool(d) and quiet(d), at_s, timeout_s)
        return at_s


def _await(events: list[tuple[float, Any]], wanted: Callable[[Any], bool], since_s: float, timeout_s: float) -> Any:
    """Events in time order; those before `since_s` are skipped."""
    deadline, seen = time.monotonic() + timeout_s, 0
    while time.monotonic() < deadline:
        while seen < len(events):
            event = events[seen]
            seen += 1
            if event[0] >= since_s and wanted(event[1]):
                return event
        time.sleep(0.003)
    raise TimeoutError(f"not heard within {timeout_s} s; the last were {[str(e[1])[:600] for e in events[-2:]]}")


def read_sabotaged(file: Path) -> float:
    """When the last sabotaged step ended."""
    deadline = time.monotonic() + 10
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the engine was never asked")
        time.sleep(0.002)
    return float(file.read_text(encoding="ascii"))


def stamp(message: Time) -> int:
    return conversions.us_from_time(message)
