"""A scene as a bag: re-read by rosbags and by the format's own reader, against the tables it was made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from calib.errors import InputError
from calib.transforms import inverse, se3_from_quaternion
from genie.cli.main import app
from genie.data.bag.read import opened, raw_messages, recorded_forecasts, stamp_us
from genie.data.bag.source import BagSource, Poses, _along
from genie.data.bag.write import new_bag, write_bag
from genie.data.nuscenes import open_nuscenes
from genie.data.stream import load_stream

SCENE = "scene-0061"
pytestmark = pytest.mark.mini


@pytest.fixture(scope="module")
def source(mini_root: Path) -> BagSource:
    return BagSource(open_nuscenes(mini_root), SCENE)


@pytest.fixture(scope="module")
def bag(source: BagSource, mini_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bags") / "scene"
    sequence = load_stream(mini_root, SCENE)
    few = type(sequence)(SCENE, sequence.semantics[:20], sequence.timestamp_us[:20], sequence.world_from_ego[:20], out)
    summary = write_bag(source, few, out)
    assert summary.missing == ()
    return out


@pytest.fixture(scope="module")
def read(bag: Path) -> dict[str, list[tuple[int, Any]]]:
    """Log time (us) and message of each, by topic."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with opened(bag) as reader:
        for connection, log_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((log_ns // 1000, message))
    return found


def matrix(pose: Any) -> np.ndarray:
    p = getattr(pose, "position", None) or pose.translation
    q = getattr(pose, "orientation", None) or pose.rotation
    return se3_from_quaternion(np.array([p.x, p.y, p.z]), np.array([q.w, q.x, q.y, q.z]))


def parts(message: Any) -> Iterator[Any]:
    """All headers of a message."""
    for holder in (message, *getattr(message, "transforms", ()), *getattr(message, "markers", ())):
        if getattr(holder, "header", None) is not None:
            yield holder.header


def test_stamps_are_those_of_the_data_and_order_is_that_of_time(read: dict, source: BagSource, bag: Path) -> None:
    logged = [m.log_us for m in raw_messages(bag)]
    assert logged == sorted(logged)
    for topic, messages in read.items():
        for log_us, message in messages:
            assert {stamp_us(h) for h in parts(message)} <= {log_us}, topic
    stamps = {r["timestamp"] for r in source.nusc.sample_data}
    assert {log for log, _ in read["/LIDAR_TOP/points"]} <= stamps
    assert {log for log, _ in read["/CAM_FRONT/image_rect/compressed"]} <= stamps


def test_poses_come_at_full_rate_and_go_through_those_of_the_tables(read: dict, source: BagSource) -> None:
    stamps = np.array([log for log, _ in read["/odom"]])
    assert [log for log, _ in read["/tf"]] == stamps.tolist()
    assert np.median(np.diff(stamps)) <= 25_000, "50 Hz of the CAN bus between keyframes at 2 Hz"
    static = {t.child_frame_id: t for _, m in read["/tf_static"] for t in m.transforms}
    map_from_odom = matrix(static["odom"].transform)
    by_stamp = {log: message for log, message in read["/odom"]}
    for record in source.nusc.sample_data:
        if record["timestamp"] not in by_stamp or record["sample_token"] not in _samples(source):
            continue
        pose = source.nusc.get("ego_pose", record["ego_pose_token"])
        expected = se3_from_quaternion(np.array(pose["translation"]), np.array(pose["rotation"]))
        found = map_from_odom @ matrix(by_stamp[record["timestamp"]].pose.pose)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    for (_, odometry), (_, tf) in zip(read["/odom"], read["/tf"], strict=True):
        np.testing.assert_allclose(matrix(tf.transforms[0].transform), matrix(odometry.pose.pose), atol=1e-12)
        assert (tf.transforms[0].header.frame_id, tf.transforms[0].child_frame_id) == ("odom", "base_link")
    # Steady motion: what lies between two poses is what the twist says.
    for (a_us, a), (b_us, b) in list(zip(read["/odom"], read["/odom"][1:], strict=False))[100:400:7]:
        moved = (inverse(matrix(a.pose.pose)) @ matrix(b.pose.pose))[:2, 3]
        seconds = (b_us - a_us) * 1e-6
        assert np.hypot(*(moved - a.twist.twist.linear.x * seconds * np.array([1, 0]))) < 0.05 + 0.5 * seconds


def _samples(source: BagSource) -> set[str]:
    record = next(s for s in source.nusc.scene if s["name"] == SCENE)
    tokens, token = set(), record["first_sample_token"]
    while token:
        tokens.add(token)
        token = source.nusc.get("sample", token)["next"]
    return tokens


def test_between_known_poses_the_bus_tells_the_motion() -> None:
    """Known poses on an arc at 2 Hz; a bus at 50 Hz that is turned, shifted and drifts."""
    seconds = np.arange(0, 2.001, 0.02)
    yaw = 0.3 * seconds
    arc = np.stack([10 * np.sin(yaw), 10 * (1 - np.cos(yaw)), 0 * yaw], 1)
    truth = [se3_from_quaternion(arc[i], np.array([np.cos(y / 2), 0, 0, np.sin(y / 2)])) for i, y in enumerate(yaw)]
    off = se3_from_quaternion(np.array([3.0, -1.0, 0.0]), np.array([np.cos(0.1), 0, 0, np.sin(0.1)]))
    bus = []
    for i, pose in enumerate(truth):
        seen = off @ pose
        angle = np.arctan2(seen[1, 0], seen[0, 0])
        bus.append(
            {
                "utime": round(seconds[i] * 1e6),
                "pos": seen[:3, 3],
                "orientation": [np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
            }
        )
    keyframes = np.arange(0, len(seconds), 25)
    table = Poses((seconds[keyframes] * 1e6).round().astype(np.int64), np.stack([truth[i] for i in keyframes]), "")
    made = _along(table, bus)
    np.testing.assert_allclose(made.world_from_ego, np.stack(truth), atol=1e-6)


def test_camera_info_has_right_matrices_and_the_images_are_the_files(read: dict, source: BagSource) -> None:
    readings = {(r.channel, r.stamp_us): r for r in source.readings() if r.modality == "camera"}
    assert len(readings) == 6
    for (channel, stamp), reading in readings.items():
        image = dict(read[f"/{channel}/image_rect/compressed"])[stamp]
        info = dict(read[f"/{channel}/image_rect/camera_info"])[stamp]
        assert image.format == "jpeg" and image.data.tobytes() == reading.path.read_bytes()
        height, width = cv2.imdecode(image.data, cv2.IMREAD_UNCHANGED).shape[:2]
        assert (info.width, info.height) == (width, height)
        r = info.r.reshape(3, 3)
        np.testing.assert_array_equal(r, np.eye(3))
        np.testing.assert_allclose(info.k.reshape(3, 3), reading.matrix)
        np.testing.assert_allclose(info.p.reshape(3, 4), np.hstack([reading.matrix, np.zeros((3, 1))]))
        assert not info.d.any() and info.distortion_model == "plumb_bob"
        assert info.header.frame_id == image.header.frame_id == f"{channel}_optical"


def test_lidar_points_are_where_they_were_in_a_frame_that_looks_ahead(read: dict, source: BagSource) -> None:
    reading = next(r for r in source.readings() if r.modality == "lidar")
    cloud = dict(read["/LIDAR_TOP/points"])[reading.stamp_us]
    dtype = np.dtype({"names": ["xyz", "intensity", "ring"], "formats": [("<f4", 3), "<f4", "<u2"],
                      "offsets": [0, 12, 16], "itemsize": cloud.point_step})  # fmt: skip
    points = np.frombuffer(cloud.data.tobytes(), dtype)
    raw = np.fromfile(reading.path, np.float32).reshape(-1, 5)
    assert len(points) == cloud.width == len(raw)
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields][3:] == [("intensity", 12, 7), ("ring", 16, 4)]
    static = {t.child_frame_id: t for _, m in read["/tf_static"] for t in m.transforms}
    base_from_lidar = matrix(static["LIDAR_TOP"].transform)
    expected = raw[:, :3] @ reading.ego_from_sensor[:3, :3].T + reading.ego_from_sensor[:3, 3]
    found = points["xyz"] @ base_from_lidar[:3, :3].T + base_from_lidar[:3, 3]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(points["ring"], raw[:, 4].astype(np.uint16))
    # The lidar sits straight on the roof: its x axis is the car's (REP-103); nuScenes' own points to the right.
    assert base_from_lidar[0, 0] > 0.99 and abs(reading.ego_from_sensor[0, 0]) < 0.1


def test_every_frame_hangs_on_the_tree_and_cameras_look_ahead_along_z(read: dict) -> None:
    static = [t for _, m in read["/tf_static"] for t in m.transforms]
    parents = {t.child_frame_id: t.header.frame_id for t in static} | {"base_link": "odom"}
    used = {h.frame_id for messages in read.values() for _, m in messages for h in parts(m)} - {"map"}
    for frame in used:
        while frame != "map":
            frame = parents[frame]  # noqa: PLW2901
    front = next(t for t in static if t.child_frame_id == "CAM_FRONT_optical")
    assert matrix(front.transform)[0, 2] > 0.99, "z of the optical frame along x of the ego"


def test_boxes_imu_and_occupancy_are_those_of_the_data(read: dict, source: BagSource, mini_root: Path) -> None:
    annotated = sum(len(source.nusc.get("sample", token)["anns"]) for token in _samples(source))
    markers = [m for _, array in read["/annotations"] for m in array.markers]
    assert len(markers) == annotated and len(read["/annotations"]) == len(_samples(source))
    first = source.nusc.get("sample_annotation", source.nusc.get("sample", min(_samples(source)))["anns"][0])
    near = [m for m in markers if abs(m.pose.position.x - first["translation"][0]) < 1e-9]
    assert near and np.allclose([near[0].scale.y, near[0].scale.x, near[0].scale.z], first["size"])
    can = json.loads((mini_root / f"can_bus/{SCENE}_pose.json").read_text())
    assert [log for log, _ in read["/imu"]] == [m["utime"] for m in can]
    assert read["/imu"][5][1].linear_acceleration.z == pytest.approx(can[5]["accel"][2])
    sequence = load_stream(mini_root, SCENE)
    for (log_us, message), t in zip(read["/perception/occupancy"], range(20), strict=True):
        assert log_us == sequence.timestamp_us[t]
        found = message.data.reshape(16, 200, 200).transpose(2, 1, 0)
        np.testing.assert_array_equal(found, sequence.semantics[t])


def test_the_formats_own_reader_finds_the_same_with_whole_schemas(bag: Path, read: dict) -> None:
    """What `ros2 bag play` refuses are schemas of protobuf, and messages without one."""
    from mcap.reader import make_reader

    counts: Counter[str] = Counter()
    with next(bag.glob("*.mcap")).open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        for schema, channel, message in reader.iter_messages():
            assert channel.message_encoding == "cdr" and schema.encoding == "ros2msg"
            assert schema.data and schema.name.count("/msg/") == 1
            assert message.data[:2] == b"\x00\x01", "CDR, little endian"
            counts[channel.topic] += 1
        statistics = reader.get_summary().statistics
    assert counts == {topic: len(messages) for topic, messages in read.items()}
    assert statistics.message_count == sum(counts.values())
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["storage_identifier"] == "mcap" and metadata["message_count"] == sum(counts.values())
    latched = next(t for t in metadata["topics_with_message_count"] if t["topic_metadata"]["name"] == "/tf_static")
    assert "durability: 1" in latched["topic_metadata"]["offered_qos_profiles"], "transient local"


def test_the_command_says_what_it_wrote_and_never_writes_over(mini_root: Path, tmp_path: Path) -> None:
    arguments = ["bag", str(mini_root), "--scene", "scene-1077", "--source", "occ3d", "--out", str(tmp_path / "b")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "/tf_static" in done.output and "not in this data root: images, lidar sweeps" in done.output
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, InputError) and "something is there already" in str(again.exception)
    other = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "c"), "--scene", "scene-9999"])
    assert isinstance(other.exception, InputError) and "scene-0061" in str(other.exception)
    assert list(tmp_path.iterdir()) == [tmp_path / "b"], "nothing half-written is left"


def test_a_bag_that_fails_half_way_or_is_damaged_is_told(tmp_path: Path, bag: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_bag(tmp_path / "half"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="topics with forecasts: none"):
        recorded_forecasts(bag)
    with pytest.raises(InputError, match="no bag there"):
        list(raw_messages(tmp_path / "nowhere"))
    torn = tmp_path / "scene"
    torn.mkdir()
    (torn / "metadata.yaml").write_text((bag / "metadata.yaml").read_text())
    file = next(bag.glob("*.mcap"))
    (torn / file.name).write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read"):
        list(raw_messages(torn))
