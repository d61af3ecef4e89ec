"""A scene into a bag: everything that is there, in time order, with its true stamps."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Any

import numpy as np

from calib.errors import InputError
from calib.rig_file import save_rig
from calib.transforms import inverse
from genie.data.bag import layout, messages
from genie.data.bag.layout import Channel, typestore
from genie.data.bag.source import BagSource, Poses
from genie.data.sequence import Sequence
from genie.data.tracks import SceneTracks, load_tracks

RIG = "rig.yaml"  # beside the bag's own files: what the perception node reads
Entry = tuple[int, Channel, Any]  # stamp (us), where to, message


@dataclass(frozen=True)
class BagSummary:
    """counts: messages by topic. poses: where those of /odom and /tf are from. missing: what is not there."""

    folder: Path
    counts: dict[str, int]
    poses: str
    missing: tuple[str, ...]


class BagWriter:
    """Messages of rosbags' classes, or their bytes, into a bag that is being written."""

    def __init__(self, writer: Any, folder: Path) -> None:
        """folder: of the bag, while it is written."""
        self._writer, self.folder = writer, folder
        self._connections: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()

    def write(self, stamp_us: int, channel: Channel, message: Any) -> None:
        """message: of rosbags, or the bytes of CDR."""
        store = typestore()
        if channel.topic not in self._connections:
            self._connections[channel.topic] = self._writer.add_connection(
                channel.topic, channel.type, typestore=store, offered_qos_profiles=[_qos(channel.latched)]
            )
        data = message if isinstance(message, bytes) else store.serialize_cdr(message, channel.type)
        self._writer.write(self._connections[channel.topic], stamp_us * 1000, data)
        self.counts[channel.topic] += 1


@contextmanager
def new_bag(folder: Path) -> Iterator[BagWriter]:
    """A bag that takes its name only if the block succeeds.

    Raises:
        InputError: something is there already.
    """
    typestore()  # says what is missing before anything is made
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    folder = Path(folder).absolute()
    if folder.exists():
        raise InputError(
            "something is there already", expected="a folder that does not exist yet",
            fix="choose another --out; nothing is ever written over", path=folder,
        )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
        # The bag names its file after its folder.
        bag = Path(aside) / folder.name
        writer = Writer(bag, version=layout.BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            yield BagWriter(writer, bag)
        shutil.move(bag, folder)


def write_bag(source: BagSource, sequence: Sequence | None, out: Path) -> BagSummary:
    """All of a scene.

    Args:
        sequence: its occupancy, or None where the data root has none.

    Raises:
        InputError: `out` is there already, or a file of the scene is damaged.
    """
    poses = source.poses()
    map_from_odom = poses.world_from_ego[0]
    tracks = load_tracks(source.nusc, source.scene)
    start_us = int(poses.stamp_us[0])
    with new_bag(out) as bag:
        static = messages.static_transforms(start_us, map_from_odom, source.mounts())
        bag.write(start_us, layout.TF_STATIC, static)
        save_rig(bag.folder / RIG, source.rig(messages.FORWARD_FROM_NUSCENES))
        streams = [
            _ego(poses, inverse(map_from_odom)), _imu(source), _sensors(source), _annotations(tracks),
            _occupancy(sequence),
        ]  # fmt: skip
        for stamp_us, channel, message in merge(*streams, key=lambda entry: entry[0]):
            bag.write(stamp_us, channel, message)
    missing = [
        what
        for what, there in (
            ("images", any(t.endswith("/compressed") for t in bag.counts)),
            ("lidar sweeps", any(t.endswith("/points") for t in bag.counts)),
            ("imu (no CAN bus)", layout.IMU.topic in bag.counts),
            ("occupancy", layout.OCCUPANCY.topic in bag.counts),
        )
        if not there
    ]
    return BagSummary(Path(out), dict(sorted(bag.counts.items())), poses.how, tuple(missing))


def _ego(poses: Poses, odom_from_map: messages.Array) -> Iterator[Entry]:
    for i, stamp_us in enumerate(poses.stamp_us.tolist()):
        yield stamp_us, layout.ODOMETRY, messages.odometry(poses, i, odom_from_map)
        odom_from_ego = odom_from_map @ poses.world_from_ego[i]
        there = messages.transform(stamp_us, layout.ODOM, layout.BASE, odom_from_ego)
        yield stamp_us, layout.TF, messages.transforms([there])


def _imu(source: BagSource) -> Iterator[Entry]:
    readings = source.imu()
    for i in range(0 if readings is None else len(readings.stamp_us)):
        assert readings is not None
        yield int(readings.stamp_us[i]), layout.IMU, messages.imu(readings, i)


def _sensors(source: BagSource) -> Iterator[Entry]:
    for reading in source.readings():
        if reading.modality == "lidar":
            yield reading.stamp_us, layout.points(reading.channel), messages.point_cloud(reading)
        else:
            yield reading.stamp_us, layout.image(reading.channel), messages.compressed_image(reading)
            yield reading.stamp_us, layout.camera_info(reading.channel), messages.camera_info(reading)


def _annotations(tracks: SceneTracks) -> Iterator[Entry]:
    for stamp_us, boxes in zip(tracks.stamp_us.tolist(), tracks.boxes, strict=True):
        yield stamp_us, layout.ANNOTATIONS, messages.markers(stamp_us, boxes)


def _occupancy(sequence: Sequence | None) -> Iterator[Entry]:
    for t in range(0 if sequence is None else len(sequence)):
        assert sequence is not None
        stamp_us = int(np.int64(sequence.timestamp_us[t]))
        yield stamp_us, layout.OCCUPANCY, messages.occupancy(stamp_us, sequence.semantics[t])


def _qos(latched: bool) -> Any:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    # What DDS calls infinite, as rosbag2 writes it.
    for_ever = QosTime(9223372036, 854775807)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE, durability, for_ever, for_ever,
        QosLiveliness.AUTOMATIC, for_ever, False,
    )  # fmt: skip
