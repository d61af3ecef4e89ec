"""What replay can play: a scene of a data root, or a bag. Either becomes events, each with what to publish then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message

from calib.sync import interpolate_pose
from genie.data.bag.layout import TF_STATIC
from genie.data.bag.read import RawMessage, raw_messages
from genie.data.sequence import Sequence
from genie_ros import conversions, qos, topics

_OCCUPANCY, _ODOMETRY, _CAMERA_INFO, _IMAGE, _POINTS = (
    f"{t.type_name.replace('/', '/msg/')}"
    for t in (topics.OCCUPANCY, topics.ODOMETRY, topics.CAMERA_INFOS[0], topics.IMAGES[0], topics.POINTCLOUD)
)


@dataclass(frozen=True)
class PlayEvent:
    """An instant: what is published then. pose_us: stamp of the odometry in it, frame_us: of the occupancy."""

    stamp_us: int
    publish: Callable[[], None]
    pose_us: int | None = None
    frame_us: int | None = None


class Play(Protocol):
    """name: for people. events: anew each time, in time order."""

    name: str

    def events(self) -> Iterable[PlayEvent]: ...


class NodeInputs:
    """Publishers on the inputs of a forecast node. on_odometry: told of each that is published, bytes or message."""

    def __init__(self, node: Node, target: str, sensors: str = "") -> None:
        """sensors: name of the perception node that makes the occupancy; "": the replay has it."""

        def publisher(topic: topics.Topic, of: str = target) -> Publisher:
            return node.create_publisher(topic.type, topic.name.replace("~", f"/{of}"), topic.qos)

        self.sensors = {t: publisher(t, sensors) for t in topics.SENSORS} if sensors else {}
        self.occupancy, self.odometry = publisher(topics.OCCUPANCY), publisher(topics.ODOMETRY)
        self.cameras = [publisher(topic) for topic in topics.CAMERA_INFOS]
        self.on_odometry: Callable[[Any], None] = lambda _: None

    def listeners(self) -> int:
        """How many subscribe to both occupancy and odometry; with a perception node, to what that takes too. It makes
        the occupancy: its own publisher on that topic is no listener."""
        needed = [self.sensors[t] for t in (topics.POINTCLOUD, topics.ODOMETRY)] if self.sensors else []
        return min(p.get_subscription_count() for p in (self.occupancy, self.odometry, *needed))

    def tell_odometry(self, message: Any) -> None:
        """message: an Odometry, or its bytes."""
        self.on_odometry(message)
        self.odometry.publish(message)
        if self.sensors:
            self.sensors[topics.ODOMETRY].publish(message)


@dataclass(frozen=True)
class ReplayEvent:
    """One instant of a scene: a pose, and the frame of that stamp if there is one."""

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


class ScenePlay:
    """Occupancy at the frames' stamps, odometry at those and, between them, at a steady rate."""

    def __init__(self, inputs: NodeInputs, sequence: Sequence, odometry_rate: float, ego_frame: str) -> None:
        self.name = f"{sequence.name}: {len(sequence)} frames of {sequence.source}"
        self._inputs, self._sequence, self._ego_frame = inputs, sequence, ego_frame
        self._planned = plan_events(sequence, odometry_rate)

    def events(self) -> Iterator[PlayEvent]:
        for planned in self._planned:
            frame_us = planned.stamp_us if planned.frame is not None else None
            yield PlayEvent(planned.stamp_us, self._publishing(planned), planned.stamp_us, frame_us)

    def _publishing(self, event: ReplayEvent) -> Callable[[], None]:
        def publish() -> None:
            self._inputs.tell_odometry(
                conversions.odometry_message(event.stamp_us, event.world_from_ego, "map", self._ego_frame)
            )
            if event.frame is not None:
                semantics = self._sequence.semantics[event.frame]
                message = conversions.occupancy_message(event.stamp_us, semantics, self._ego_frame)
                self._inputs.occupancy.publish(message)

        return publish


class BagPlay:
    """Messages as they were recorded, byte for byte: what the node takes on its inputs, the rest on its own topics for
    as long as somebody listens there."""

    def __init__(self, node: Node, inputs: NodeInputs, bag: Path, cameras: list[str]) -> None:
        """
        Args:
            cameras: names, in the order of the node's rig, whose camera_info goes to its inputs, and whose images to
                those of the perception node, if `inputs` has one: then its frames are the revolutions of the lidar.

        Raises:
            InputError: no bag there, or a damaged one.
        """
        self._node, self._inputs, self._bag = node, inputs, bag
        self._cameras = {f"/{name}/": i for i, name in enumerate(cameras)}
        self._publishers: dict[str, Publisher | None] = {}
        self._frames = _POINTS if inputs.sensors else _OCCUPANCY
        self._span = self._look()
        frames, count = self._span
        self.name = f"{bag.name}: {frames} frames of {count} messages"

    def _look(self) -> tuple[int, int]:
        frames = count = 0
        for message in raw_messages(self._bag):
            count += 1
            frames += message.type == self._frames
            if message.topic == TF_STATIC.topic:
                self._other(message)  # early, so that displays find it
        return frames, count

    def events(self) -> Iterator[PlayEvent]:
        for message in raw_messages(self._bag):
            stamp_us = message.log_us
            if message.type in (self._frames, _ODOMETRY):
                kind = message_class(message.type)
                stamp_us = conversions.us_from_time(deserialize_message(message.data, kind).header.stamp)
            yield PlayEvent(
                message.log_us,
                lambda m=message: self._publish(m),  # type: ignore[misc]
                pose_us=stamp_us if message.type == _ODOMETRY else None,
                frame_us=stamp_us if message.type == self._frames else None,
            )

    def _publish(self, message: RawMessage) -> None:
        if message.type == _OCCUPANCY and not self._inputs.sensors:
            self._inputs.occupancy.publish(message.data)
        elif message.type == _POINTS and self._inputs.sensors:
            self._inputs.sensors[topics.POINTCLOUD].publish(message.data)
        elif message.type == _IMAGE and self._inputs.sensors:
            for name, index in self._cameras.items():
                if message.topic.startswith(name):
                    self._inputs.sensors[topics.IMAGES[index]].publish(message.data)
        elif message.type == _ODOMETRY:
            self._inputs.tell_odometry(message.data)
        elif message.type == _CAMERA_INFO:
            for name, index in self._cameras.items():
                if message.topic.startswith(name):
                    self._inputs.cameras[index].publish(message.data)
        publisher = self._other(message)
        if publisher is not None and (publisher.get_subscription_count() or message.topic == TF_STATIC.topic):
            publisher.publish(message.data)

    def _other(self, message: RawMessage) -> Publisher | None:
        """On the topic of the recording; None where this ROS 2 does not have the type."""
        if message.topic not in self._publishers:
            kind = message_class(message.type)
            if kind is None:
                self._node.get_logger().warning(f"{message.topic} is left out: no {message.type} here")
            profile = qos.LATCHED if message.topic == TF_STATIC.topic else qos.DIAGNOSTICS
            made = None if kind is None else self._node.create_publisher(kind, message.topic, profile)
            self._publishers[message.topic] = made
        return self._publishers[message.topic]


def message_class(type_name: str) -> Any:
    """The class of "package/msg/Name", or None where the package is not installed."""
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except ImportError:
        return None
