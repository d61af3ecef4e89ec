"""What the recorder makes of the messages it hears."""

from __future__ import annotations

import json

import numpy as np
import pytest
from genie_msgs.msg import OccupancyForecast, ScenePredictionStatus
from genie_ros import conversions
from genie_ros.recorder import Recording, save, summarise

from perception.types import GRID


def heard(index: int) -> tuple[OccupancyForecast, int]:
    """30 Hz; every fifth is a new inference, on an observation of 100 ms before; the node counts from 1, 7 is lost."""
    message = OccupancyForecast()
    message.header.stamp = conversions.time_from_us(10**12 + index * 33_333)
    status = message.status
    status.is_new_inference = index % 5 == 0
    status.inference_id = 1 + index // 5
    status.observation_stamp = conversions.time_from_us(10**12 + index // 5 * 100_000)
    status.inference_time = 0.08 if status.is_new_inference else float("nan")
    status.published_count = index + 1 if index < 7 else index + 2
    status.level = 1 if index < 5 else 0
    return message, 5 * 10**18 + round(index * 1e9 / 30)


@pytest.fixture
def recording() -> Recording:
    made = Recording()
    for index in range(31):
        message, arrival_ns = heard(index)
        made.add(message, arrival_ns)
        if message.status.is_new_inference:
            made.sent_ns[made.observation_us[-1]] = arrival_ns - 90_000_000 - 1_000_000 * index
    return made


def test_a_repeated_forecast_is_not_an_inference(recording: Recording) -> None:
    found = summarise(recording)
    assert found["published_hz"] == pytest.approx(30.0, abs=1e-3)
    assert found["new_inference_hz"] == pytest.approx(6.0, abs=1e-3)
    assert (found["forecasts"], found["forecasts_lost"], found["new_inferences"]) == (31, 1, 7)
    assert found["levels"] == {"OK": 26, "DEGRADED": 5, "HOLD": 0, "FAULT": 0}
    assert found["latency_ms"]["median"] == pytest.approx(105.0, abs=0.1)
    assert found["latency_ms"]["max"] == pytest.approx(120.0, abs=0.1)
    assert found["inference_ms"]["p95"] == pytest.approx(80.0, abs=0.1)
    assert found["longest_silence_ms"] == pytest.approx(33.3, abs=0.1)


def test_states_and_their_reasons_become_a_timeline() -> None:
    made = Recording()
    for i in range(30):
        status = ScenePredictionStatus(level=0 if i < 10 else 2 if i < 20 else 3)
        status.reasons = [] if i < 10 else ["no_occupancy", "no_odometry"]
        made.add_status(status, 10**18 + i * 100_000_000)
    found = summarise(made)["timeline"]
    assert [s["level"] for s in found] == ["OK", "HOLD", "FAULT"]
    assert [round(s["begin_s"], 3) for s in found] == [0.0, 1.0, 2.0] and found[1]["end_s"] == found[2]["begin_s"]
    assert found[2]["reasons"] == ["no_occupancy", "no_odometry"]


def test_nothing_heard_is_told_as_nothing(tmp_path) -> None:
    save(Recording(), tmp_path)
    found = json.loads((tmp_path / "ros.json").read_text())
    assert found["published_hz"] is None and found["latency_ms"] is None and found["forecasts"] == 0


def test_kept_forecasts_come_back_in_our_axes(recording: Recording, tmp_path) -> None:
    semantics = np.random.default_rng(0).integers(0, 18, (6, *GRID.shape), dtype=np.uint8)
    message, _ = heard(0)
    message.data = conversions.forecast_data(semantics)
    recording.kept[recording.observation_us[0]] = message
    save(recording, tmp_path)
    with np.load(tmp_path / "ros.npz", allow_pickle=False) as written:
        assert np.array_equal(written["kept_semantics"][0], semantics)
        assert len(written["arrival_ns"]) == 31 and written["is_new"].sum() == 7
