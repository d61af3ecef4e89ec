"""What is taken out of a bag: raw messages for replay, recorded forecasts for evaluation."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import inverse, se3_from_quaternion
from genie.data.bag.layout import FORECAST_TYPE, typestore
from perception.types import GRID, HORIZONS_S

ODOMETRY_TYPE = "nav_msgs/msg/Odometry"


@dataclass(frozen=True)
class RawMessage:
    """log_us: when it was recorded. data: CDR bytes."""

    log_us: int
    topic: str
    type: str
    data: bytes


@dataclass(frozen=True)
class RecordedForecast:
    """A forecast as it was published, told in the ego frame of its observation again.

    packed: the semantics, compressed: 20 s of them would be 0.8 GB. ego_from_future: float64 [H, 4, 4]. confidence:
    float32 [H, 50, 50]. latency_s: from the publication of the odometry of that stamp to the arrival of the forecast,
    by the log times; NaN where that odometry is not in the bag. inference_s: of it, the engine's.
    """

    observation_us: int
    packed: bytes
    ego_from_future: NDArray[np.float64]
    confidence: NDArray[np.float32]
    level: int
    latency_s: float
    inference_s: float

    @property
    def semantics(self) -> NDArray[np.uint8]:
        """uint8 [H, 200, 200, 16]."""
        told = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.ascontiguousarray(told.reshape(-1, *GRID.shape[::-1]).transpose(0, 3, 2, 1))


@contextmanager
def opened(folder: Path) -> Iterator[Any]:
    """rosbags' AnyReader on a bag.

    Raises:
        InputError: no bag there, or a damaged one.
    """
    default = typestore()
    from rosbags.highlevel import AnyReader, AnyReaderError

    if not Path(folder).is_dir():
        raise InputError("no bag there", expected="a folder with metadata.yaml", fix="check the path", path=folder)
    try:
        with AnyReader([Path(folder)], default_typestore=default) as reader:
            yield reader
    except (AnyReaderError, OSError, AssertionError) as error:
        raise InputError(
            f"the bag cannot be read ({type(error).__name__}: {error})",
            expected="a whole rosbag2: a folder with metadata.yaml and MCAP or SQLite files",
            fix="record or convert it again",
            path=folder,
        ) from error


def raw_messages(folder: Path) -> Iterator[RawMessage]:
    """All messages, in the order of recording. InputError as `opened`."""
    with opened(folder) as reader:
        for connection, log_ns, data in reader.messages():
            yield RawMessage(log_ns // 1000, connection.topic, connection.msgtype, bytes(data))


def stamp_us(header: Any) -> int:
    return int(header.stamp.sec) * 1_000_000 + int(header.stamp.nanosec) // 1000


def recorded_forecasts(folder: Path, topic: str | None = None) -> dict[int, RecordedForecast]:
    """The first recording of each inference, by the stamp (us) of the observation that it rests on.

    A forecast that was moved to a newer pose before it was published is told in the frame of its observation again, by
    the odometry in the bag.

    Args:
        topic: which one; None: the only one with forecasts.

    Raises:
        InputError: no forecasts, several topics with them, another grid or other horizons, or odometry that is missing.
    """
    with opened(folder) as reader:
        topics = sorted({c.topic for c in reader.connections if c.msgtype == FORECAST_TYPE})
        if topic is None and len(topics) == 1:
            topic = topics[0]
        if topic not in topics:
            raise InputError(
                f"topics with forecasts: {', '.join(topics) or 'none'}" + (f"; asked for {topic}" if topic else ""),
                expected="one topic of genie_msgs/OccupancyForecast",
                fix="record ~/output/forecast, or name the topic",
                path=folder,
            )
        found: dict[int, RecordedForecast] = {}
        poses: dict[int, NDArray[np.float64]] = {}
        logged_ns: dict[int, int] = {}
        wanted = [c for c in reader.connections if c.topic == topic or c.msgtype == ODOMETRY_TYPE]
        for connection, log_ns, data in reader.messages(connections=wanted):
            message = reader.deserialize(data, connection.msgtype)
            if connection.msgtype == ODOMETRY_TYPE:
                poses[stamp_us(message.header)] = matrix_of(message.pose.pose)
                logged_ns.setdefault(stamp_us(message.header), log_ns)
                continue
            observed_us = int(message.status.observation_stamp.sec) * 1_000_000
            observed_us += int(message.status.observation_stamp.nanosec) // 1000
            if observed_us not in found:
                latency_s = (log_ns - logged_ns[observed_us]) * 1e-9 if observed_us in logged_ns else float("nan")
                found[observed_us] = _forecast(message, observed_us, latency_s, poses, folder)
        return found


def _forecast(
    message: Any, observed_us: int, latency_s: float, poses: dict[int, NDArray[np.float64]], folder: Path
) -> RecordedForecast:
    steps = len(message.time_from_start)
    if steps != len(HORIZONS_S) or len(message.data) != steps * int(np.prod(GRID.shape)):
        raise InputError(
            f"a forecast of {steps} steps and {len(message.data)} voxels",
            expected=f"{len(HORIZONS_S)} steps of {GRID.shape}",
            fix="record with forecast_steps 6 and step_stride 1",
            path=folder,
        )
    future = np.stack([matrix_of(pose) for pose in message.ego_poses])
    told_us = stamp_us(message.header)
    if told_us != observed_us:
        missing = [s for s in (told_us, observed_us) if s not in poses]
        if missing:
            raise InputError(
                f"no odometry at {missing[0]} us, where a forecast was told",
                expected="the odometry that the node heard, in the same bag",
                fix="record /geniedrive/input/odometry too, or replay with --lockstep",
                path=folder,
            )
        future = inverse(poses[observed_us]) @ poses[told_us] @ future
    across = GRID.shape[0] // int(message.confidence_stride)
    confidence = np.asarray(message.confidence, np.float32).reshape(steps, across, across).transpose(0, 2, 1)
    return RecordedForecast(
        observation_us=observed_us,
        packed=zlib.compress(np.ascontiguousarray(message.data, np.uint8).tobytes(), 1),
        ego_from_future=future,
        confidence=np.ascontiguousarray(confidence),
        level=int(message.status.level),
        latency_s=latency_s,
        inference_s=float(message.status.inference_time),
    )


def matrix_of(pose: Any) -> NDArray[np.float64]:
    """target_from_source [4, 4] of a geometry_msgs/Pose."""
    p, q = pose.position, pose.orientation
    return se3_from_quaternion(np.array([p.x, p.y, p.z]), np.array([q.w, q.x, q.y, q.z]))
