"""Publishes a recorded scene on the inputs of the forecast node, with the stamps of the recording.

Occupancy comes at the frames' stamps, odometry at those and, between them, at a steady rate.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from genie_msgs.msg import SemanticOccupancy
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.node import Node

from calib.sync import interpolate_pose
from genie.data.sequence import Sequence
from genie_ros import conversions, qos
from genie_ros.process import exit_code_of, ros_context, stop_on_signals


@dataclass(frozen=True)
class ReplayEvent:
    """One instant of the replay: a pose, and the frame of that stamp if there is one."""

    stamp_us: int
    world_from_ego: NDArray[np.float64]
    frame: int | None


def plan_events(sequence: Sequence, odometry_rate: float) -> list[ReplayEvent]:
    """All instants in time order: every frame, and poses in between, none further apart than 1 / rate (s)."""
    events: list[ReplayEvent] = []
    stamps, poses = sequence.timestamp_us, sequence.world_from_ego
    for t in range(len(sequence)):
        events.append(ReplayEvent(int(stamps[t]), poses[t], t))
        if t + 1 == len(sequence):
            break
        span_us = int(stamps[t + 1] - stamps[t])
        parts = max(1, int(np.ceil(span_us * odometry_rate / 1e6)))
        for part in range(1, parts):
            stamp_us = int(stamps[t]) + span_us * part // parts
            events.append(ReplayEvent(stamp_us, interpolate_pose(poses[t], poses[t + 1], part / parts), None))
    return events


class ReplayNode(Node):
    """Publishes to <target>/input/occupancy and <target>/input/odometry."""

    def __init__(self, target: str, ego_frame: str) -> None:
        super().__init__("geniedrive_replay")
        self._ego_frame = ego_frame
        self._occupancy = self.create_publisher(SemanticOccupancy, f"/{target}/input/occupancy", qos.OCCUPANCY_INPUT)
        self._odometry = self.create_publisher(Odometry, f"/{target}/input/odometry", qos.ODOMETRY_INPUT)

    def listeners(self) -> int:
        """How many subscribe to both inputs."""
        return min(self._occupancy.get_subscription_count(), self._odometry.get_subscription_count())

    def publish(self, sequence: Sequence, event: ReplayEvent) -> None:
        self._odometry.publish(
            conversions.odometry_message(event.stamp_us, event.world_from_ego, "map", self._ego_frame)
        )
        if event.frame is not None:
            semantics = sequence.semantics[event.frame]
            self._occupancy.publish(conversions.occupancy_message(event.stamp_us, semantics, self._ego_frame))


def paced(events: list[ReplayEvent], rate: float, stop: threading.Event) -> Iterator[ReplayEvent]:
    """The events, each when it is due: `rate` seconds of the recording in a second. Ends when `stop` is set."""
    start_s, first_us = time.monotonic(), events[0].stamp_us
    for event in events:
        due_s = start_s + (event.stamp_us - first_us) / 1e6 / rate
        if stop.wait(max(0.0, due_s - time.monotonic())):
            return
        yield event


def _wait_for_listeners(node: ReplayNode, count: int, seconds: float, stop: threading.Event) -> None:
    deadline = time.monotonic() + seconds
    while node.listeners() < count and not stop.wait(0.05):
        if time.monotonic() >= deadline:
            node.get_logger().warning(
                f"{node.listeners()} of {count} listeners after {seconds:.0f} s; publishing all the same"
            )
            return


def load(dataroot: Path, scene: str, source: str) -> Sequence:
    """source: "stream" or "stream-mini" (10 Hz), or "occ3d" (labelled keyframes, 2 Hz)."""
    from genie.data.stream import is_stream, load_stream

    if is_stream(source):
        return load_stream(dataroot, scene, source=source)
    from genie.data.occ3d import load_keyframes

    return load_keyframes(dataroot, scene)


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="replay", description=__doc__)
    parser.add_argument("--dataroot", type=Path, required=True)
    parser.add_argument("--scene", required=True)
    parser.add_argument("--source", choices=("stream", "stream-mini", "occ3d"), default="stream")
    parser.add_argument("--rate", type=float, default=1.0, help="seconds of the recording in a second")
    parser.add_argument("--odometry-rate", type=float, default=50.0, help="Hz, in the time of the recording")
    parser.add_argument("--loop", action="store_true", help="begin anew at the end; the stamps go back, too")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds to wait for listeners before the start")
    parser.add_argument("--listeners", type=int, default=1, help="how many must subscribe to both inputs")
    parser.add_argument("--target", default="geniedrive", help="name of the node to publish to")
    parser.add_argument("--ego-frame", default="base_link")
    stop = stop_on_signals()
    options, ros_arguments = parser.parse_known_args(arguments)
    sequence = load(options.dataroot, options.scene, options.source)
    events = plan_events(sequence, options.odometry_rate)
    with ros_context(ros_arguments):
        node = ReplayNode(options.target, options.ego_frame)
        _wait_for_listeners(node, options.listeners, options.wait, stop)
        node.get_logger().info(f"{sequence.name}: {len(sequence)} frames of {sequence.source} at rate {options.rate:g}")
        frames = 0
        while not stop.is_set():
            for event in paced(events, options.rate, stop):
                node.publish(sequence, event)
                frames += event.frame is not None
            if not options.loop:
                break
        node.get_logger().info(f"published {frames} frames")
        node.destroy_node()
    return 0


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
