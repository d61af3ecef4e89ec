"""Replay in lockstep: what the node tells over DDS is what the pipeline computes offline, tick for tick, from a data
root and from a bag of it; and the recording scores as the export does."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from calib.errors import InputError
from calib.transforms import planar
from deploy.pipeline import Pipeline
from deploy.poses import PoseHistory
from genie.cli.main import app
from genie.data.bag.read import RecordedForecast, matrix_of, opened, recorded_forecasts
from genie.data.stream import load_stream
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from perception.types import Occupancy, SensorFrame

if TYPE_CHECKING:
    from conftest import Graph

pytestmark = pytest.mark.ros
SCENE, SECONDS = "scene-0001", 4.5
GENIEDRIVE = [sys.executable, "-m", "genie.cli.main"]


@dataclass(frozen=True)
class Recordings:
    """Folders of bags, by what was played; and the log of the node."""

    root: Path
    bags: dict[str, Path]
    log: str


@pytest.fixture(scope="module")
def recordings(graph: Graph, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    folder = tmp_path_factory.mktemp("lockstep")
    generate(folder / "data", SynthConfig(scenes=1, seconds=SECONDS))
    root = folder / "data"
    made = CliRunner().invoke(app, ["bag", str(root), "--scene", SCENE, "--out", str(folder / "scene")])
    assert made.exit_code == 0, made.output
    parameters = folder / "one_thread.yaml"
    parameters.write_text("geniedrive: {ros__parameters: {threads: 1}}\n", encoding="utf-8")
    graph.start("node", [*GENIEDRIVE, "node", "--bundle", str(bundle), "--sim-time", "--params", str(parameters)])
    graph.await_output("node", "configured", 90.0)
    played = {"data root": ["--dataroot", str(root), "--scene", SCENE], "bag": ["--bag", str(folder / "scene")]}
    bags = {}
    for what, options in played.items():
        bags[what] = folder / f"heard of {what}"
        name = f"replay of {what}"
        graph.start(name, [*GENIEDRIVE, "replay", *options, "--lockstep", "--record", str(bags[what])])
        ended = graph.wait(name, 120.0)
        assert ended.code == 0, f"{ended.output}\nnode:\n{graph.output('node')}"
    node = graph.end("node")
    assert node.code == 0 and "Traceback" not in node.output, node.output
    return Recordings(root, bags, node.output)


@pytest.fixture(scope="module")
def heard(recordings: Recordings) -> dict[str, dict[int, RecordedForecast]]:
    return {what: recorded_forecasts(bag) for what, bag in recordings.bags.items()}


def test_every_frame_is_answered_and_equals_the_offline_result(
    recordings: Recordings, heard: dict[str, dict[int, RecordedForecast]], bundle: Path
) -> None:
    sequence = load_stream(recordings.root, SCENE)
    stamps = sequence.timestamp_us.tolist()
    assert all(sorted(found) == stamps for found in heard.values()), "no frame is skipped"
    offline = Pipeline(bundle, threads=1)
    different = []
    for t, stamp in enumerate(stamps):
        expected = offline.step(sequence.frame(t))
        found = heard["data root"][stamp]
        different.append(int((found.semantics != expected.semantics).sum()))
        np.testing.assert_allclose(planar(found.ego_from_future), expected.trajectory, atol=1e-6)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
    assert different == [0] * len(stamps)


def test_a_bag_of_the_scene_equals_the_offline_result_with_its_poses(
    recordings: Recordings, heard: dict[str, dict[int, RecordedForecast]], bundle: Path
) -> None:
    """The bag has the tables' poses, with roll and pitch; the stream's are planar."""
    sequence, poses = load_stream(recordings.root, SCENE), PoseHistory()
    with opened(recordings.root.parent / "scene") as reader:
        odometry = [c for c in reader.connections if c.topic == "/odom"]
        for connection, log_ns, data in reader.messages(connections=odometry):
            message = reader.deserialize(data, connection.msgtype)
            poses.append(log_ns // 1000, matrix_of(message.pose.pose))
    offline = Pipeline(bundle, threads=1)
    for t, stamp in enumerate(sequence.timestamp_us.tolist()):
        pose = poses.at(stamp)
        assert pose is not None
        expected = offline.step(SensorFrame(stamp, pose, Occupancy(sequence.semantics[t])))
        found = heard["bag"][stamp]
        assert (found.semantics != expected.semantics).sum() == 0, t
        np.testing.assert_allclose(planar(found.ego_from_future), expected.trajectory, atol=1e-4)


def test_the_recording_scores_as_the_export_does(recordings: Recordings, bundle: Path, tmp_path: Path) -> None:
    def scores(name: str, *options: str) -> dict[str, Any]:
        path = tmp_path / f"{name}.json"
        common = ["eval", "--dataroot", str(recordings.root), "--ego", "predicted", "--json", str(path)]
        result = CliRunner().invoke(app, [*common, *options])
        assert result.exit_code == 0, f"{result.output}\n{result.exception}"
        told[name] = result.output
        tree: dict[str, Any] = json.loads(path.read_text())
        return {key: value for key, value in tree.items() if key != "model"}

    told: dict[str, str] = {}
    online = scores("online", "--bag", str(recordings.bags["data root"]))
    offline = scores("offline", "--model", str(bundle))
    assert_close(online, offline)
    assert "latency, observation published to forecast heard" in told["online"]
    print(next(line for line in told["online"].splitlines() if "latency" in line))
    given = CliRunner().invoke(app, ["eval", "--dataroot", str(recordings.root), "--bag", str(recordings.bags["bag"])])
    assert isinstance(given.exception, InputError) and "--ego predicted" in str(given.exception)


def assert_close(found: Any, expected: Any) -> None:
    """Trees of numbers: equal but for the rounding of another count of threads."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-3, nan_ok=True)
    else:
        assert found == expected
