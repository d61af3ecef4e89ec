"""Publishes a recorded scene, or a bag, on the inputs of the forecast node, with the stamps of the recording.

With --lockstep each frame waits until the forecast of the one before was heard: no frame is skipped, however slow the
machine. The node should then run on /clock (`geniedrive node --sim-time`), which stands still meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from calib.errors import InputError
from calib.rig_file import load_rig
from genie.data.bag.write import RIG
from genie.data.sequence import Sequence
from genie_ros import conversions, qos
from genie_ros.lockstep import ForecastEar
from genie_ros.plays import BagPlay, NodeInputs, Play, PlayEvent, ScenePlay
from genie_ros.process import exit_code_of, ros_context, stop_on_signals


def paced(
    events: Iterable[PlayEvent], rate: float, stop: threading.Event, *, catch_up: bool = True
) -> Iterator[PlayEvent]:
    """The events, each when it is due: `rate` seconds of the recording in a second. Ends when `stop` is set.

    catch_up: whether what became late is hurried after. Inputs are best effort: a burst of odometry would be cut short.
    """
    due_s, before_us = time.monotonic(), None
    for event in events:
        due_s += (event.stamp_us - (event.stamp_us if before_us is None else before_us)) / 1e6 / rate
        before_us = event.stamp_us
        if stop.wait(max(0.0, due_s - time.monotonic())):
            return
        yield event
        if not catch_up:
            due_s = max(due_s, time.monotonic())


class Player:
    """Plays events; with a clock and an ear where those were asked for."""

    def __init__(self, node: Node, with_clock: bool, ear: ForecastEar | None, lockstep: bool) -> None:
        self._clock = node.create_publisher(Clock, "/clock", qos.CLOCK) if with_clock else None
        self._ear, self._lockstep = ear, lockstep
        self._sent: list[PlayEvent] = []  # since the frame that is waited for
        self._pose_us = -1  # of the newest odometry
        self.frames = 0

    def play(self, event: PlayEvent) -> None:
        """Publishes; in lockstep, waits once the odometry covers a frame."""
        if self._clock is not None:
            self._clock.publish(Clock(clock=conversions.time_from_us(event.stamp_us)))
        if self._ear is not None and event.frame_us is not None:
            self._ear.expect(event.frame_us)
        event.publish()
        self.frames += event.frame_us is not None
        self._pose_us = self._pose_us if event.pose_us is None else event.pose_us
        if self._ear is None:
            return
        if not self._lockstep:
            self._ear.take()
            return
        if event.frame_us is not None or self._sent:
            self._sent.append(event)
        frame_us = next((e.frame_us for e in self._sent if e.frame_us is not None), None)
        if frame_us is not None and self._pose_us >= frame_us:
            self._ear.await_forecast(frame_us, self._send_again)
            self._sent = []

    def _send_again(self) -> None:
        for event in self._sent:
            event.publish()


def _wait_for_listeners(node: Node, inputs: NodeInputs, count: int, seconds: float, stop: threading.Event) -> None:
    deadline = time.monotonic() + seconds
    while inputs.listeners() < count and not stop.wait(0.05):
        if time.monotonic() >= deadline:
            node.get_logger().warning(
                f"{inputs.listeners()} of {count} listeners after {seconds:.0f} s; publishing all the same"
            )
            return


def load(dataroot: Path, scene: str, source: str) -> Sequence:
    """source: "stream" or "stream-mini" (10 Hz), or "occ3d" (labelled keyframes, 2 Hz)."""
    from genie.data.stream import is_stream, load_stream

    if is_stream(source):
        return load_stream(dataroot, scene, source=source)
    from genie.data.occ3d import load_keyframes

    return load_keyframes(dataroot, scene)


def _arguments(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="replay", description=__doc__)
    parser.add_argument("--bag", type=Path, help="a rosbag2, instead of --dataroot and --scene")
    parser.add_argument("--dataroot", type=Path)
    parser.add_argument("--scene")
    parser.add_argument("--source", choices=("stream", "stream-mini", "occ3d"), default="stream")
    parser.add_argument("--rate", type=float, default=1.0, help="seconds of the recording in a second")
    parser.add_argument("--odometry-rate", type=float, default=50.0, help="Hz, in the time of the recording")
    parser.add_argument("--loop", action="store_true", help="begin anew at the end; the stamps go back, too")
    parser.add_argument("--clock", action="store_true", help="publish /clock")
    parser.add_argument("--lockstep", action="store_true", help="each frame waits for the forecast of the last")
    parser.add_argument("--record", type=Path, help="folder of a new bag for forecasts and odometry")
    parser.add_argument("--cameras", default="", help="names whose camera_info, or images, in the bag go on, in order")
    parser.add_argument("--sensors", default="", help="name of a perception node that gets images and lidar instead")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds to wait for listeners before the start")
    parser.add_argument("--listeners", type=int, default=1, help="how many must subscribe to both inputs")
    parser.add_argument("--target", default="geniedrive", help="name of the node to publish to")
    parser.add_argument("--ego-frame", default="base_link")
    return parser.parse_known_args(arguments)


def run(arguments: list[str]) -> int:
    stop = stop_on_signals()
    options, ros_arguments = _arguments(arguments)
    if (options.bag is None) == (options.dataroot is None and options.scene is None):
        raise InputError("nothing to play, or two things", expected="--bag, or --dataroot and --scene", fix="give one")
    if options.bag is None and None in (options.dataroot, options.scene):
        raise InputError("nothing to play, or two things", expected="--bag, or --dataroot and --scene", fix="give one")
    if options.sensors and options.bag is None:
        raise InputError("--sensors without a bag", expected="--bag: a bag has sensors", fix="make one: geniedrive bag")
    sequence = load(options.dataroot, options.scene, options.source) if options.bag is None else None
    names = [name for name in options.cameras.split(",") if name]
    if options.sensors and not names:
        names = [camera.name for camera in load_rig(options.bag / RIG).cameras]
    with ros_context(ros_arguments), ExitStack() as opened:
        node = Node("geniedrive_replay")
        inputs = NodeInputs(node, options.target, options.sensors)
        play: Play = (
            BagPlay(node, inputs, options.bag, names)
            if sequence is None
            else ScenePlay(inputs, sequence, options.odometry_rate, options.ego_frame)
        )
        ear = None
        if options.lockstep or options.record is not None:
            from genie.data.bag.write import new_bag

            bag = opened.enter_context(new_bag(options.record)) if options.record is not None else None
            ear = ForecastEar(node, options.target, bag)
            inputs.on_odometry = ear.note_odometry
            opened.enter_context(closing(ear))
        player = Player(node, options.clock or options.lockstep, ear, options.lockstep)
        _wait_for_listeners(node, inputs, options.listeners, options.wait, stop)
        while ear is not None and not ear.listening() and not stop.wait(0.05):
            pass
        node.get_logger().info(f"{play.name} at rate {options.rate:g}")
        while not stop.is_set():
            events = play.events()
            for event in paced(events, options.rate, stop, catch_up=not options.lockstep):
                player.play(event)
                if stop.is_set():
                    break
            if not options.loop:
                break
        node.get_logger().info(f"published {player.frames} frames")
        node.destroy_node()
    return 0


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
