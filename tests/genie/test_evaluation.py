"""The evaluation loop: what a forecaster may see, what it is scored against, and what the JSON holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from calib.transforms import inverse, planar, se3_from_xyz_yaw
from genie.baselines import EgoWarpForecaster, predicted_trajectory
from genie.data.scenes import Scene
from genie.data.sequence import Sequence
from genie.data.tracks import Boxes, SceneTracks
from genie.evaluation.report import to_json
from genie.evaluation.rollout import WindowResult, evaluate
from genie.forecaster import ForecastResult
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID, HORIZONS_S, SensorFrame

CAR = CLASS_NAMES.index("car")


def drive(frames: int, hz: float, *, speed: float = 4.0, yaw_rate: float = 0.0) -> Sequence:
    """The ego on an arc past a wall of striped road; frame t carries its number in one voxel."""
    seconds = np.arange(frames) / hz
    yaw = yaw_rate * seconds
    if yaw_rate:
        xy = speed / yaw_rate * np.stack([np.sin(yaw), 1 - np.cos(yaw)], -1)
    else:
        xy = np.stack([speed * seconds, np.zeros(frames)], -1)
    semantics = np.full((frames, *GRID.shape), FREE, np.uint8)
    semantics[:, 60:140, 60:140, 2] = DRIVEABLE
    semantics[np.arange(frames), np.arange(frames), 0, 0] = CAR
    poses = se3_from_xyz_yaw(np.concatenate([xy, np.zeros((frames, 1))], 1), yaw)
    stamps = (seconds * 1e6).round().astype(np.int64) + 1_000_000
    return Sequence("scene-0001", semantics, stamps, poses, Path("nowhere"))


class Recorder:
    """Knows the future: forecasts the true frames, and writes down what it was shown."""

    name = "recorder"

    def __init__(self, sequence: Sequence, step: int) -> None:
        self.sequence, self.step = sequence, step
        self.shown: list[list[int]] = []
        self.given: list[np.ndarray | None] = []

    def reset(self) -> None:
        self.shown.append([])

    def observe(self, frame: SensorFrame) -> None:
        self.shown[-1].append(int(np.searchsorted(self.sequence.timestamp_us, frame.stamp_us)))

    def forecast(self, ego_from_future: np.ndarray | None) -> ForecastResult:
        self.given.append(ego_from_future)
        now = self.shown[-1][-1]
        later = [now + self.step * (h + 1) for h in range(len(HORIZONS_S))]
        return ForecastResult(self.sequence.semantics[later], np.zeros((len(later), 4, 4)))


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [
        ("occworld", [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]),
        ("i2world", [[s, s + 1, s + 2, s + 3, s + 4] for s in range(4)]),
        ("geniedrive", [[s, s + 1, s + 2, s + 3] for s in range(5)]),
        ("dome", [[0, 1, 2, 3]]),
    ],
)
def test_keyframe_protocols_show_their_frames_and_no_others(protocol: str, shown: list[list[int]]) -> None:
    """14 keyframes. The forecasts are perfect only against the right targets."""
    sequence = drive(14, 2.0)
    recorder = Recorder(sequence, 1)
    evaluation = evaluate(recorder, [Scene(sequence, None)], protocol)
    assert [frames for frames in recorder.shown if frames] == shown
    assert evaluation.windows == len(shown)
    assert all(h["miou"] == h["iou"] == 100.0 for h in to_json(evaluation)["horizons"].values())


def test_a_stream_is_shown_whole_and_in_order() -> None:
    sequence = drive(51, 10.0)
    recorder = Recorder(sequence, 5)
    seen: list[WindowResult] = []
    evaluation = evaluate(recorder, [Scene(sequence, None)], "stream", on_window=seen.append)
    assert [frames for frames in recorder.shown if frames] == [list(range(21))]
    assert [w.t for w in seen] == [0, 10, 20] and evaluation.windows == 3
    assert seen[1].targets == (15, 20, 25, 30, 35, 40)
    assert all(h["miou"] == 100.0 for h in to_json(evaluation)["horizons"].values())


def test_a_slow_observer_is_shown_every_fifth_frame_and_judged_on_the_same_windows() -> None:
    sequence = drive(51, 10.0)
    recorder = Recorder(sequence, 5)
    evaluation = evaluate(recorder, [Scene(sequence, None)], "stream-2hz")
    assert [frames for frames in recorder.shown if frames] == [[0, 5, 10, 15, 20]]
    assert evaluation.windows == 3
    assert all(h["miou"] == 100.0 for h in to_json(evaluation)["horizons"].values())


def test_given_ego_is_the_true_future_and_predicted_ego_is_withheld() -> None:
    sequence = drive(51, 10.0, speed=4.0)
    recorder = Recorder(sequence, 5)
    evaluate(recorder, [Scene(sequence, None)], "stream", ego="given")
    np.testing.assert_allclose(planar(recorder.given[0])[:, 0], 4.0 * np.array(HORIZONS_S), atol=1e-6)
    recorder = Recorder(sequence, 5)
    evaluate(recorder, [Scene(sequence, None)], "stream", ego="predicted")
    assert recorder.given == [None, None, None]


@pytest.mark.parametrize("yaw_rate", [0.0, 0.3, -0.3])
def test_predicted_ego_continues_a_steady_arc(yaw_rate: float) -> None:
    sequence = drive(51, 10.0, yaw_rate=yaw_rate)
    predicted = predicted_trajectory([sequence.frame(t) for t in range(13, 21)])
    true = inverse(sequence.world_from_ego[20]) @ sequence.world_from_ego[[25, 30, 35, 40, 45, 50]]
    # 2 cm after 12 m: the chord of the last half second is taken for its arc.
    np.testing.assert_allclose(planar(predicted), planar(true), atol=0.02)


def test_predicted_ego_stands_until_it_has_seen_two_frames() -> None:
    np.testing.assert_allclose(planar(predicted_trajectory([drive(2, 10.0).frame(0)])), 0.0, atol=1e-9)


def driving_car(sequence: Sequence) -> SceneTracks:
    """A car at 5 m/s beside the ego, annotated at each frame; it is also drawn into the labels, by the caller."""
    one = np.ones(1, np.int64)
    boxes = [
        Boxes(
            one, CAR * one, np.array([[5e-6 * float(us - 1_000_000), 8.0, 0.6]]), np.array([[4.0, 2.0, 1.6]]),
            np.zeros(1), np.array([[5.0, 0.0]]),
        )
        for us in sequence.timestamp_us
    ]  # fmt: skip
    return SceneTracks(sequence.timestamp_us, tuple(boxes))


def test_moving_and_static_are_scored_apart() -> None:
    """The ego stands, a car drives: what stands is copied perfectly, what moves is lost."""
    sequence = drive(41, 10.0, speed=0.0)
    sequence.semantics[sequence.semantics == CAR] = FREE
    tracks = driving_car(sequence)
    for t in range(len(sequence)):
        x = int(GRID.index_of(np.array([0.5 * t, 8.0, 0.6]))[0])
        sequence.semantics[t, x - 5 : x + 5, 118:122, 3:6] = CAR
    scores = to_json(evaluate(EgoWarpForecaster(), [Scene(sequence, tracks)], "stream"))["horizons"]["3.0"]
    assert scores["miou_static"] == scores["iou_static"] == 100.0
    assert scores["miou_moving"] < 60.0
    assert scores["iou_per_class"]["car"] == 0.0 and scores["iou_per_class"]["bus"] is None
    assert scores["iou_moving_per_class"]["car"] == 0.0 and scores["iou_moving_per_class"]["bus"] is None


def test_json_is_plain_and_complete() -> None:
    sequence = drive(41, 10.0)
    value = to_json(evaluate(EgoWarpForecaster(), [Scene(sequence, None)], "stream"))
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert {"model", "source", "protocol", "ego", "windows", "horizons"} <= set(value)
    assert (value["model"], value["source"], value["protocol"], value["ego"]) == (
        "ego-warp", "stream", "stream", "given",
    )  # fmt: skip
    assert list(value["horizons"]) == ["0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]
    for scores in value["horizons"].values():
        assert list(scores["iou_per_class"]) == list(CLASS_NAMES[:FREE])
        assert scores["miou_moving"] is None  # no annotations: not known, and not zero


@pytest.mark.parametrize(("hz", "protocol"), [(2.0, "stream"), (10.0, "i2world"), (5.0, "stream")])
def test_frames_of_another_rate_are_refused(hz: float, protocol: str) -> None:
    sequence = drive(41, hz)
    with pytest.raises(InputError, match="s apart"):
        evaluate(EgoWarpForecaster(), [Scene(sequence, None)], protocol)


def test_scenes_too_short_for_a_window_are_not_a_score() -> None:
    with pytest.raises(InputError, match="no window"):
        evaluate(EgoWarpForecaster(), [Scene(drive(30, 10.0), None)], "stream")


def test_scenes_do_not_run_into_each_other() -> None:
    sequence = drive(35, 10.0)
    recorder = Recorder(sequence, 5)
    result = evaluate(recorder, [Scene(sequence, None)] * 2, "stream")
    assert recorder.shown == [[0], [0]]
    assert result.windows == 2


def test_the_convention_reaches_the_scores() -> None:
    """A forecast without anything in it: the two classes that are there have IoU 0."""

    class Nothing(Recorder):
        def forecast(self, ego_from_future: np.ndarray | None) -> ForecastResult:
            empty = np.full((len(HORIZONS_S), *GRID.shape), FREE, np.uint8)
            return ForecastResult(empty, super().forecast(ego_from_future).ego_from_future)

    sequence = drive(35, 10.0)

    def miou(convention: str) -> float | None:
        result = evaluate(Nothing(sequence, 5), [Scene(sequence, None)], "stream", convention=convention)
        return to_json(result)["horizons"]["1.0"]["miou"]

    assert miou("present") == 0.0
    assert miou("occworld") == pytest.approx(100 * 15 / 17)
    assert miou("i2world") is None
