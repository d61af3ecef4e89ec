"""replay and node as two processes over DDS, heard by a third: rate, stamps, counts, contents, and a clean end."""

from __future__ import annotations

import json
import signal
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calib.transforms import inverse, planar, se3_from_xyz_yaw
from deploy.pipeline import Pipeline
from genie.data.sequence import Sequence
from genie.data.stream import load_stream
from perception.types import CLASS_NAMES, FREE, GRID, Occupancy, SceneForecast, SensorFrame

pytestmark = pytest.mark.ros
FRAMES = 75
MAX_COMPARED = 20
FIRST_US = 1_532_402_927_647_951


@dataclass(frozen=True)
class Recording:
    """What the listener wrote, and how the processes ended."""

    data: dict[str, np.ndarray]
    sequence: Sequence
    codes: dict[str, int]
    logs: dict[str, str]
    seconds_to_end: float


@pytest.fixture(scope="module")
def scene_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream of full size: a car drives a gentle left turn at 8 m/s past walls and parked cars."""
    root = tmp_path_factory.mktemp("scene")
    (root / "stream").mkdir()
    rng = np.random.default_rng(0)
    world = np.full((600, 400, 16), FREE, dtype=np.uint8)  # voxels of 0.4 m; the ego starts 60 m in
    world[:, 150:250, 2] = CLASS_NAMES.index("driveable_surface")
    world[:, 140:143, 2:10] = CLASS_NAMES.index("manmade")
    for x in rng.integers(20, 580, 40):
        y = int(rng.integers(150, 240))
        world[x : x + 11, y : y + 5, 3:6] = CLASS_NAMES.index("car")
    seconds = np.arange(FRAMES) * 0.1
    yaw = 0.05 * seconds
    xyz = np.stack([60 + 160 * np.sin(yaw), 80 + 160 * (1 - np.cos(yaw)), 0 * yaw], axis=1)
    centres = GRID.centers()[:, :, 0]
    frames = []
    for pose in se3_from_xyz_yaw(xyz, yaw):
        index = np.floor((centres @ pose[:3, :3].T + pose[:3, 3])[..., :2] / 0.4).astype(int)
        inside = ((index >= 0) & (index < world.shape[:2])).all(axis=-1)
        frame = np.full(GRID.shape, FREE, dtype=np.uint8)
        frame[inside] = world[index[inside][:, 0], index[inside][:, 1]]
        frames.append(frame)
    stamps = FIRST_US + (seconds * 1e6).astype(np.int64) + rng.integers(-3000, 3000, FRAMES)
    for name, count in (("scene-0001", FRAMES), ("scene-0002", 12)):
        np.savez_compressed(
            root / f"stream/{name}.npz",
            semantics=np.stack(frames[:count]),
            timestamp_us=stamps[:count],
            ego_xyz=xyz[:count],
            ego_yaw=yaw[:count],
        )
    return root


GENIEDRIVE = [sys.executable, "-m", "genie.cli.main"]
STANDIN_NODE = [sys.executable, str(Path(__file__).parent / "standin_engine.py"), "--autostart", "--ros-args"]


def listen_command(out: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).parent / "listener.py"), str(out)]


def replay_command(root: Path, scene: str, *options: str) -> list[str]:
    return [*GENIEDRIVE, "replay", "--dataroot", str(root), "--scene", scene, "--listeners", "2", *options]


@pytest.fixture(scope="module")
def recording(graph, bundle: Path, scene_root: Path) -> Recording:
    out = graph.folder / "heard.npz"
    parameters = graph.folder / "one_thread.yaml"  # leaves a core to the rest of the graph
    parameters.write_text("geniedrive: {ros__parameters: {threads: 1}}\n", encoding="utf-8")
    graph.start("node", [*GENIEDRIVE, "node", "--bundle", str(bundle), "--params", str(parameters)])
    graph.start("listener", listen_command(out))
    graph.await_output("node", "configured")
    graph.await_output("listener", "listening")
    graph.start("replay", replay_command(scene_root, "scene-0001"))
    replay = graph.wait("replay")
    node = graph.end("node")
    listener = graph.end("listener")
    with np.load(out) as archive:
        data = dict(archive)
    return Recording(
        data,
        load_stream(scene_root, "scene-0001"),
        {"replay": replay.code, "node": node.code, "listener": listener.code},
        {"replay": replay.output, "node": node.output, "listener": listener.output},
        node.seconds,
    )


def test_all_end_cleanly_when_they_are_asked_to(recording: Recording) -> None:
    assert recording.codes == {"replay": 0, "node": 0, "listener": 0}, json.dumps(recording.logs, indent=1)
    assert all("Traceback" not in log for log in recording.logs.values()), recording.logs
    assert recording.seconds_to_end < 5.0


def test_forecasts_come_at_the_promised_rate(recording: Recording) -> None:
    arrivals = recording.data["arrival_s"]
    rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    gaps = np.diff(arrivals)
    print(f"{rate:.2f} Hz, gaps p50 {np.median(gaps) * 1e3:.1f} p99 {np.quantile(gaps, 0.99) * 1e3:.1f} ms")
    # 30 Hz was asked for. A machine shared with others may stop us all for a while: that is in the mean alone.
    assert np.median(gaps) == pytest.approx(1 / 30, abs=0.012)
    assert 12.0 < rate < 33.0


def test_stamps_are_those_of_the_data_and_never_go_back(recording: Recording) -> None:
    data, truth = recording.data, recording.sequence
    assert len(data["observed_us"]) > 0.7 * FRAMES
    assert np.isin(data["observed_us"], truth.timestamp_us).all()
    assert np.isin(data["observation_us"], truth.timestamp_us).all()
    assert np.isin(data["stamp_us"], data["odometry_us"]).mean() > 0.9  # the rest: odometry that the listener lost
    assert (np.diff(data["stamp_us"]) >= 0).all()
    assert (data["stamp_us"] >= data["observation_us"]).all()
    assert (data["stamp_us"] <= truth.timestamp_us[-1]).all()
    assert np.diff(data["odometry_us"]).mean() < 26_000  # 50 Hz, some of it lost


def test_new_inferences_are_counted_apart_from_what_is_published_again(recording: Recording) -> None:
    data = recording.data
    new = data["is_new"]
    ids = data["inference_id"]
    assert (np.diff(ids) >= 0).all() and ids[0] == 1
    assert len(np.unique(ids[new])) == new.sum()
    assert new.sum() >= 0.8 * len(np.unique(ids))
    assert (ids[1:][~new[1:]] == ids[:-1][~new[1:]]).mean() > 0.95  # a repeated forecast keeps its id
    assert 5 <= new.sum() <= FRAMES  # how many depends on the machine
    last = {name: int(data[f"status_{name}"][-1]) for name in ("published", "inferences", "rejected", "id")}
    assert last["rejected"] == 0
    assert new.sum() <= last["inferences"] <= last["id"] <= FRAMES
    assert last["published"] >= len(new) and last["published"] > 2 * last["inferences"]


def offline_forecasts(engine: Pipeline, recording: Recording) -> dict[int, SceneForecast]:
    """Forecasts by stamp from the frames that the node inferred from, in their order."""
    truth, data = recording.sequence, recording.data
    observed = dict(zip(data["status_id"].tolist(), data["status_observation_us"].tolist(), strict=True))
    engine.reset()
    out = {}
    for inference_id in range(1, MAX_COMPARED + 1):
        if (
            inference_id not in observed
        ):  # the last, or nobody heard which frame it was: what follows cannot be repeated
            break
        stamp_us = observed[inference_id]
        t = int(np.flatnonzero(truth.timestamp_us == stamp_us)[0])
        out[stamp_us] = engine.step(SensorFrame(stamp_us, truth.world_from_ego[t], Occupancy(truth.semantics[t])))
    return out


def test_contents_are_those_of_the_offline_result(recording: Recording, bundle: Path) -> None:
    data, offline_engine = recording.data, Pipeline(bundle, threads=1)
    offline = offline_forecasts(offline_engine, recording)
    pose_at = {int(s): pose for s, pose in zip(data["odometry_us"], data["odometry_pose"], strict=True)}
    compared, equal = 0, []
    new = np.flatnonzero(data["is_new"])
    for row, i in enumerate(new):
        expected, stamp_us = offline.get(int(data["observation_us"][i])), int(data["stamp_us"][i])
        if expected is None or (stamp_us != expected.stamp_us and stamp_us not in pose_at):
            continue
        if stamp_us != expected.stamp_us:
            expected = offline_engine.reanchor(expected, pose_at[stamp_us], stamp_us)
        packed = data[f"data_{data['inference_id'][i]}"]
        heard = np.frombuffer(zlib.decompress(packed.tobytes()), dtype=np.uint8).reshape(-1, 16, 200, 200)
        equal.append((heard.transpose(0, 3, 2, 1) == expected.semantics).mean())
        np.testing.assert_allclose(data["times_s"][i], expected.horizons_s, atol=1e-6)
        np.testing.assert_allclose(planar(data["ego_poses"][i]), expected.trajectory, atol=1e-4)
        confidence = data["confidence"][row].reshape(-1, 50, 50).transpose(0, 2, 1)
        np.testing.assert_allclose(confidence, expected.confidence, atol=1e-5)
        compared += 1
    assert compared >= 5
    assert min(equal) > 0.999 and np.median(equal) == 1.0, equal
    occupied = np.mean([(f.semantics != FREE).mean() for f in offline.values()])
    assert occupied > 0.005  # there was something to compare


def test_between_inferences_the_forecast_stays_where_it_was_in_the_world(recording: Recording) -> None:
    """What is published again is told in a newer ego frame: its poses, in the world, have not moved."""
    data = recording.data
    pose_at = {int(s): pose for s, pose in zip(data["odometry_us"], data["odometry_pose"], strict=True)}
    world, absolute = {}, {}
    moved = 0
    for i, stamp_us in enumerate(data["stamp_us"]):
        if int(stamp_us) not in pose_at:
            continue
        poses = pose_at[int(stamp_us)] @ data["ego_poses"][i]
        times = stamp_us / 1e6 + data["times_s"][i]
        key = int(data["inference_id"][i])
        if key in world:
            np.testing.assert_allclose(poses[:, :2, 3], world[key][:, :2, 3], atol=1e-3)
            np.testing.assert_allclose(times, absolute[key], atol=1e-4)
            moved += 1
        else:
            world[key], absolute[key] = poses, times
    assert moved > 50


def test_trajectory_and_points_agree_with_the_forecast(recording: Recording) -> None:
    data = recording.data
    by_stamp = {int(s): i for i, s in enumerate(data["stamp_us"])}
    common = [(i, by_stamp[int(s)]) for i, s in enumerate(data["trajectory_stamp_us"]) if int(s) in by_stamp]
    assert len(common) > 100
    for i, j in common[:-5]:
        if (data["trajectory_stamp_us"] == data["trajectory_stamp_us"][i]).sum() == 1:
            np.testing.assert_allclose(data["trajectory_poses"][i], data["ego_poses"][j], atol=1e-9)
    truth = recording.sequence
    step = planar(inverse(truth.world_from_ego[0]) @ truth.world_from_ego[1])
    true_speed = np.hypot(*step[:2]) / (truth.timestamp_us[1] - truth.timestamp_us[0]) * 1e6
    assert np.median(data["trajectory_speed"]) == pytest.approx(true_speed, rel=0.1)
    assert np.isin(data["points_stamp_us"], data["trajectory_stamp_us"]).mean() > 0.9
    assert data["points_count"].min() > 1000


def test_a_second_start_a_loop_lost_input_and_sigterm(graph, scene_root: Path) -> None:
    """The same domain again: the replay loops (stamps go back), then stops for good: HOLD, FAULT, silence.

    With the stand-in, whose inference is short beside the limits.
    """
    out, parameters = graph.folder / "again.npz", graph.folder / "node.yaml"
    limits = "stamp_clock: data, max_input_age_ms: 600.0, hold_timeout_ms: 400.0, refill_ms: 300.0"
    limits += ", slow_inference_ms: 1000.0"  # the stand-in is no model: how slow it is tells nothing
    parameters.write_text(f"/**: {{ros__parameters: {{{limits}}}}}\n", encoding="utf-8")
    graph.start("node", [*STANDIN_NODE, "-p", "bundle_path:=none", "--params-file", str(parameters)])
    graph.start("listener", listen_command(out))
    graph.await_output("node", "configured")
    graph.await_output("listener", "listening")
    graph.start("replay", replay_command(scene_root, "scene-0002", "--loop"))
    graph.await_output("node", "began anew")
    graph.await_output("replay", "frames of")
    time.sleep(0.9)
    assert graph.end("replay").code == 0
    time.sleep(1.6)
    node = graph.end("node", signal.SIGTERM)
    assert node.code == 0, node.output
    assert graph.end("listener").code == 0
    with np.load(out) as archive:
        data = dict(archive)
    assert (np.diff(data["observation_us"]) < 0).sum() >= 1  # went back, with the recording
    levels = data["status_level"]
    assert 0 in levels
    last_ok = int(np.flatnonzero(levels <= 1)[-1])
    after = levels[last_ok + 1 :]
    assert (np.diff(after) >= 0).all() and set(after) == {2, 3}, after
    published = data["status_published"][last_ok + 1 :]
    assert len(np.unique(published[after == 3])) == 1, "published in FAULT"
    assert data["status_reasons"][-1] == "no_occupancy,no_odometry"
