"""A bag's lidar and images through the perception node and the forecast node over DDS, in lockstep, forecasts back to
perception as its prior: what is forecast is what the same frames give offline."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.pipeline import Pipeline
from genie.cli.main import app
from genie.data.bag.read import RecordedForecast, recorded_forecasts
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from tests.small_perception import BOTH, export_small

if TYPE_CHECKING:
    from conftest import Graph

pytestmark = pytest.mark.ros
SCENE, SECONDS = "scene-0001", 1.0
CAMERAS = ("CAM_BACK", "CAM_FRONT")  # two of six: the others are silent
GENIEDRIVE = [sys.executable, "-m", "genie.cli.main"]


@dataclass(frozen=True)
class Drive:
    """What was played and what came of it."""

    bag: Path
    perception: Path
    heard: dict[int, RecordedForecast]
    log: str


@pytest.fixture(scope="module")
def drive(graph: Graph, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Drive:
    folder = tmp_path_factory.mktemp("sensors")
    generate(folder / "data", SynthConfig(scenes=1, seconds=SECONDS, lidar=True, cameras=True, image_scale=0.1))
    bag = folder / "scene"
    made = CliRunner().invoke(app, ["bag", str(folder / "data"), "--scene", SCENE, "--out", str(bag)])
    assert made.exit_code == 0, made.output
    perception = export_small(folder, BOTH)
    rig = bag / "rig.yaml"
    graph.start("node", [*GENIEDRIVE, "node", "--bundle", str(bundle), "--sim-time"])
    graph.start("see", [*GENIEDRIVE, "perceive", "--perception", str(perception), "--rig", str(rig), "--sim-time"])
    graph.await_output("node", "configured", 90.0)
    graph.await_output("see", "configured", 90.0)
    rig_order = ",".join(_rig_cameras(rig))
    replay = ["--bag", str(bag), "--sensors", "geniedrive_perception", "--cameras", rig_order, "--lockstep"]
    graph.start("replay", [*GENIEDRIVE, "replay", *replay, "--record", str(folder / "heard")])
    ended = graph.wait("replay", 200.0)
    logs = f"{ended.output}\nnode:\n{graph.output('node')}\nperception:\n{graph.output('see')}"
    assert ended.code == 0, logs
    for name in ("see", "node"):
        process = graph.end(name)
        assert process.code == 0 and "Traceback" not in process.output, logs
    return Drive(bag, perception, recorded_forecasts(folder / "heard"), logs)


def _rig_cameras(rig: Path) -> list[str]:
    """All names in the rig's order, those that are left out replaced: their images go nowhere."""
    from calib.rig_file import load_rig

    return [c.name if c.name in CAMERAS else "-" for c in load_rig(rig).cameras]


def test_every_revolution_is_forecast_from_as_it_is_offline(drive: Drive, bundle: Path) -> None:
    from calib.rig_file import load_rig
    from deploy.expected import foreseen
    from deploy.live_perception import LivePerception
    from deploy.perceive import Perception
    from deploy.poses import PoseHistory
    from deploy.stamps import DataClock
    from perception.types import SensorFrame

    rig = load_rig(drive.bag / "rig.yaml")
    pipeline = Pipeline(bundle, threads=1)
    live = LivePerception(Perception(drive.perception, rig, threads=1), rig, "LIDAR_TOP", DataClock())
    poses = PoseHistory()
    checked = helped = 0
    for kind, stamp_us, value in _messages(drive.bag):
        if kind == "odometry":
            live.offer_odometry(stamp_us, value)
            poses.append(stamp_us, value)
        elif kind == "points":
            live.offer_sweep(stamp_us, value)
        else:
            live.offer_image(kind, stamp_us, partial(lambda image: image, value))
        found = _settled(live)
        if found is None:
            continue
        pose = poses.at(found.stamp_us)
        assert pose is not None and found.occupancy is not None and set(found.cameras) <= set(CAMERAS)
        told = pipeline.step(SensorFrame(found.stamp_us, pose, found.occupancy))
        np.testing.assert_array_equal(drive.heard[found.stamp_us].semantics, told.semantics)
        live.offer_foreseen(foreseen(told)[0])
        checked += 1
        helped += found.foreseen
    live.close()
    assert checked == len(drive.heard) >= SECONDS * 20 - 1  # revolutions: 20 a second
    assert helped >= SECONDS * 20 / 2 - 1, "what is foreseen is for half a second later"
    assert any(f.semantics.min() < 17 for f in drive.heard.values())


def _settled(live):  # type: ignore[no-untyped-def]
    """What the frames that were just made give: perception works in a thread of its own."""
    import time

    deadline = time.monotonic() + 20.0
    while live.busy and time.monotonic() < deadline:
        time.sleep(0.002)
    return live.take()


def _messages(bag: Path):  # type: ignore[no-untyped-def]
    """Kind, stamp (us) and value of what the perception node takes, in the order of the bag."""
    import cv2
    from rosbags.highlevel import AnyReader

    from calib.transforms import se3_from_quaternion
    from genie.data.bag.layout import typestore

    with AnyReader([bag], default_typestore=typestore()) as reader:
        for connection, _, raw in reader.messages():
            kind = connection.msgtype.rpartition("/")[2]
            if kind not in ("Odometry", "PointCloud2", "CompressedImage"):
                continue
            message = reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp.sec * 1_000_000 + message.header.stamp.nanosec // 1000
            if kind == "Odometry":
                p, q = message.pose.pose.position, message.pose.pose.orientation
                yield "odometry", stamp, se3_from_quaternion(np.array([p.x, p.y, p.z]), np.array([q.w, q.x, q.y, q.z]))
            elif kind == "PointCloud2":
                rows = message.data.reshape(message.width, message.point_step)[:, :16].copy().view("<f4")
                yield "points", stamp, rows
            elif (name := connection.topic.split("/")[1]) in CAMERAS:
                yield name, stamp, cv2.imdecode(message.data, cv2.IMREAD_COLOR)
