"""From sensor frames to forecasts, without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from calib.transforms import inverse, se3_from_xyz_yaw
from deploy.forecaster import BundleForecaster
from deploy.parity_stream import true_future
from deploy.pipeline import Pipeline, poses_of, tick_inputs
from deploy.spec import ROWS
from deploy.torch_runtime import TorchRuntime
from genie.data.sequence import Sequence
from genie.data.stream import load_stream
from genie.gated_forecaster import GatedForecaster
from genie.model import GenieDrive
from genie.model_forecaster import ModelForecaster
from genie.observation import observe, start_observer
from genie.rows import as_voxels
from perception.types import Occupancy, SceneForecast


@pytest.fixture(scope="module")
def pipeline(bundle: Path) -> Pipeline:
    pipeline = Pipeline(bundle)
    pipeline.warm_up()
    return pipeline


def assert_same(a: SceneForecast, b: SceneForecast) -> None:
    np.testing.assert_array_equal(a.semantics, b.semantics)
    np.testing.assert_array_equal(a.trajectory, b.trajectory)
    np.testing.assert_array_equal(a.confidence, b.confidence)


def test_needs_no_torch() -> None:
    program = (
        "import sys, deploy.pipeline, deploy.forecaster; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_forecasts_what_the_model_forecasts(
    pipeline: Pipeline, bundle: Path, model: GenieDrive, mini_root: Path
) -> None:
    """On a real drive: the pipeline over every frame, its twin in PyTorch and the bundle over the last few."""
    stream = load_stream(mini_root, "scene-0061")
    pipeline.reset()
    twins = [GatedForecaster(model, "torch"), BundleForecaster(bundle)]
    for t in range(2, 5):
        truth = true_future(stream, t)
        plan = truth.plan if truth and t % 2 == 0 else None
        found = pipeline.step(stream.frame(t), plan)
        for twin in twins:
            twin.observe(stream.frame(t))
    for twin in twins:
        expected = twin.forecast(plan)
        assert (found.semantics != expected.semantics).mean() < 2e-5
        np.testing.assert_allclose(poses_of(found.trajectory), expected.ego_from_future, atol=1e-4)
        assert expected.confidence is not None
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    assert plan is not None
    for twin in twins:
        twin.observe(stream.frame(5))
    expected, found_again = (twin.forecast(None).ego_from_future for twin in twins)
    np.testing.assert_allclose(found_again, expected, atol=1e-4)
    assert np.abs(expected - plan).max() > 0.01


def test_a_bound_on_a_tick_leaves_the_rest_for_the_next_ones(bundle: Path, model: GenieDrive, stream: Sequence) -> None:
    """A part of the scene is another from one frame to the next: unbounded, a large graph runs; bounded, the small one
    does, on what surprises most, until nothing is left. The same columns in PyTorch."""
    changed = stream.semantics[3].copy()
    changed[60:140, 60:140] = np.roll(changed, 37, axis=1)[60:140, 60:140]
    frames = [stream.frame(t) for t in range(3)]
    frames += [replace(stream.frame(t), occupancy=Occupancy(changed)) for t in range(3, 8)]
    frames = [replace(f, world_from_ego=frames[2].world_from_ego) for f in frames]
    free, bound = BundleForecaster(bundle, threads=1), BundleForecaster(bundle, threads=1, most_columns=100)
    pipeline, twin = Pipeline(bundle, threads=1), TorchRuntime(model, most_columns=100)
    pipeline.bound(100)
    observer = start_observer()
    for frame in frames:
        free.observe(frame)
        bound.observe(frame)
        free.forecast(None)
        told = bound.forecast(None)
        np.testing.assert_array_equal(pipeline.step(frame).semantics, told.semantics)
        assert pipeline.computed == bound.computed[-1]
        seen, observer = observe(frame, observer)
        plain = as_voxels(twin.tick(tick_inputs(seen, None))[ROWS])
        assert (plain != told.semantics).mean() < 2e-5 and twin.bucket() == pipeline.runtime.bucket()
    assert free.computed[0] == bound.computed[0] == 2500
    assert min(free.computed[3], free.needed[3], bound.needed[3]) > 256
    assert bound.computed[1:] == [64] * 7
    left = bound.needed[3:]
    assert left[0] > left[1] > left[2] and left[-1] <= left[0] - 3 * 64


def test_the_dense_form_takes_no_bound(dense_bundle: Path) -> None:
    with pytest.raises(InputError, match="dense form"):
        Pipeline(dense_bundle, threads=1).bound(128)


def test_the_dense_twin_too(dense_bundle: Path, model: GenieDrive, stream: Sequence) -> None:
    """Its forecaster runs the last frames alone, the pipeline every frame."""
    pipeline = Pipeline(dense_bundle, threads=1)
    twins = [ModelForecaster(model, "torch"), BundleForecaster(dense_bundle)]
    for t in range(4):
        found = pipeline.step(stream.frame(t))
        for twin in twins:
            twin.observe(stream.frame(t))
    for twin in twins:
        assert (found.semantics != twin.forecast(None).semantics).mean() < 2e-5


def test_a_forecast_outlives_the_next_one(pipeline: Pipeline, stream: Sequence) -> None:
    pipeline.reset()
    first = pipeline.step(stream.frame(0))
    kept = replace(first, semantics=first.semantics.copy(), trajectory=first.trajectory.copy())
    second = pipeline.step(stream.frame(5))
    assert_same(first, kept)
    assert (first.semantics != second.semantics).any()
    assert second.inference_id == first.inference_id + 1
    assert first.horizons_s.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert first.timings_ms.keys() == {"observe", "tick", "assemble"}


def test_the_past_matters_and_reset_gap_and_rewind_forget_it(pipeline: Pipeline, stream: Sequence) -> None:
    pipeline.reset()
    alone = pipeline.step(stream.frame(5))
    pipeline.reset()
    pipeline.step(stream.frame(4))
    continued = pipeline.step(stream.frame(5))
    assert (continued.trajectory != alone.trajectory).any()
    rewound = pipeline.step(stream.frame(5))  # the same stamp again
    assert_same(rewound, alone)
    late = replace(stream.frame(5), stamp_us=stream.frame(5).stamp_us + 1_300_000)
    assert_same(pipeline.step(late), alone)


def test_a_bad_frame_or_plan_leaves_the_stream_as_it_was(pipeline: Pipeline, stream: Sequence) -> None:
    pipeline.reset()
    pipeline.step(stream.frame(0))
    expected = pipeline.step(stream.frame(1))
    pipeline.reset()
    pipeline.step(stream.frame(0))
    with pytest.raises(InputError, match="world_from_ego"):
        pipeline.step(replace(stream.frame(1), world_from_ego=np.full((4, 4), np.nan)))
    with pytest.raises(InputError, match="plan"):
        pipeline.step(stream.frame(1), np.eye(4))
    assert_same(pipeline.step(stream.frame(1)), expected)


def test_reanchor_keeps_the_future_where_it_is_in_the_world(pipeline: Pipeline, stream: Sequence) -> None:
    pipeline.reset()
    forecast = pipeline.step(stream.frame(0))
    newer = forecast.world_from_ego @ se3_from_xyz_yaw(np.array([1.5, -0.2, 0.0]), 0.1)
    moved = pipeline.reanchor(forecast, newer, forecast.stamp_us + 200_000)
    np.testing.assert_allclose(
        newer @ poses_of(moved.trajectory), forecast.world_from_ego @ poses_of(forecast.trajectory), atol=1e-4
    )
    np.testing.assert_allclose(moved.horizons_s, [0.3, 0.8, 1.3, 1.8, 2.3, 2.8], atol=1e-6)
    assert moved.semantics is forecast.semantics and moved.inference_id == forecast.inference_id
    assert moved.stamp_us == forecast.stamp_us + 200_000
    back = inverse(newer) @ forecast.world_from_ego
    assert np.abs(moved.trajectory - forecast.trajectory).max() > 1.0 and back[0, 3] < 0
    with pytest.raises(ValueError, match="before"):
        pipeline.reanchor(forecast, newer, forecast.stamp_us - 1)
