"""One tick and a stream of them: what the state holds, what a forecast depends on."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.transforms import inverse
from genie.baselines import EgoWarpForecaster
from genie.checkpoint_forecaster import zero_parts
from genie.config import load_config
from genie.data.sequence import Sequence
from genie.data.stream import load_stream
from genie.model import GenieDrive
from genie.model_forecaster import ModelForecaster, plan_tensors, tick_tensors
from genie.observation import ObservedScene, observe, start_observer
from genie.plain_move import measured_displacement, plain_move
from genie.rows import as_voxels
from genie.state import empty_state
from perception.types import FREE, GRID

LENGTH = 5


@pytest.fixture(scope="module")
def model() -> GenieDrive:
    """Random weights everywhere, also where training starts from zero."""
    torch.manual_seed(0)
    model = GenieDrive(load_config("tiny", ["model.width=32", "model.layers=1", "model.history=2"]).model)
    residuals = (model.motion.residual, model.trajectory.residual, model.invention.logits)
    for layer in (*residuals, model.motion.token[1], model.trajectory.token):
        torch.nn.init.normal_(layer.weight, std=0.05)
    model.confidence_of_origin.uniform_()
    return model.eval()


@pytest.fixture(scope="module")
def sequence(synth_root: Path) -> Sequence:
    return load_stream(synth_root, "scene-0001")


@pytest.fixture(scope="module")
def scenes(sequence: Sequence) -> list[ObservedScene]:
    observer, scenes = start_observer(), []
    for t in range(20, 20 + LENGTH):
        scene, observer = observe(sequence.frame(t), observer)
        scenes.append(scene)
    return scenes


def plan_of(sequence: Sequence, t: int) -> np.ndarray:
    return np.stack([inverse(sequence.world_from_ego[t]) @ sequence.world_from_ego[t + 5 * h] for h in range(1, 7)])


def run_every_tick(model: GenieDrive, scenes: list[ObservedScene], plan: np.ndarray | None):
    state = empty_state(model.config)
    with torch.inference_mode():
        for scene in scenes:
            forecast, state = model.step(*tick_tensors(scene), state, plan_tensors(plan))
    return forecast, state


def test_the_forecaster_equals_running_every_tick(
    model: GenieDrive, scenes: list[ObservedScene], sequence: Sequence
) -> None:
    plan = plan_of(sequence, 20 + LENGTH - 1)
    whole, _ = run_every_tick(model, scenes, plan)
    forecaster = ModelForecaster(model, "test")
    for t in range(20, 20 + LENGTH):
        forecaster.observe(sequence.frame(t))
    lazy = forecaster.run(plan)
    torch.testing.assert_close(lazy.displacement, whole.displacement)
    assert (lazy.rows == whole.rows).all()


def test_history_reaches_the_forecast_and_ends_where_it_should(model: GenieDrive, scenes: list[ObservedScene]) -> None:
    forecast, _ = run_every_tick(model, scenes, None)
    without, _ = run_every_tick(model, scenes[-1:], None)
    just_enough, _ = run_every_tick(model, scenes[-3:], None)
    assert (forecast.displacement - without.displacement).abs().max() > 1e-4
    torch.testing.assert_close(forecast.displacement, just_enough.displacement)


def test_a_restart_flushes_the_history(model: GenieDrive, scenes: list[ObservedScene]) -> None:
    cut = [*scenes[:-1], scenes[-1]._replace(continues=np.zeros(1, np.float32), ego_motion=np.zeros(3, np.float32))]
    flushed, _ = run_every_tick(model, cut, None)
    fresh, _ = run_every_tick(model, cut[-1:], None)
    torch.testing.assert_close(flushed.displacement, fresh.displacement)


def test_a_wrong_ego_pose_is_noticed(model: GenieDrive, scenes: list[ObservedScene]) -> None:
    """History warped by a wrong pose must give other tokens: else the warp is decoration."""
    wrong = [s._replace(ego_motion=s.ego_motion + np.array([6.4, 0, 0], np.float32)) for s in scenes]
    right, _ = run_every_tick(model, scenes, None)
    other, _ = run_every_tick(model, wrong, None)
    assert (right.displacement - other.displacement).abs().max() > 1e-4


def test_without_learned_parts_it_is_the_tracker(scenes: list[ObservedScene], sequence: Sequence) -> None:
    """Zero-initialised heads: the first forecast of training is measured motion on copied ground."""
    torch.manual_seed(0)
    fresh = GenieDrive(load_config("tiny", ["model.width=32", "model.layers=1"]).model).eval()
    plan = plan_of(sequence, 20 + LENGTH - 1)
    forecast, _ = run_every_tick(fresh, scenes, plan)
    from calib.transforms import planar

    plain = plain_move(scenes[-1], measured_displacement(scenes[-1]), planar(plan))
    assert (as_voxels(forecast.rows.numpy()) != plain).mean() < 2e-4


def test_without_motion_and_fill_it_is_ego_warp(model: GenieDrive, sequence: Sequence) -> None:
    stripped = zero_parts(copy.deepcopy(model), ("motion",))
    forecaster = ModelForecaster(stripped, "stripped", show_fill=False, keep_evidence=False)
    warp = EgoWarpForecaster()
    for t in range(20, 20 + LENGTH):
        forecaster.observe(sequence.frame(t))
        warp.observe(sequence.frame(t))
    plan = plan_of(sequence, 20 + LENGTH - 1)
    ours, plain = forecaster.forecast(plan).semantics, warp.forecast(plan).semantics
    assert (ours != plain).mean() < 2e-4


def test_invented_columns_show_and_nothing_else_does(model: GenieDrive, scenes: list[ObservedScene]) -> None:
    forecast, _ = run_every_tick(model, scenes, None)
    assert forecast.trajectory[-1, 0].abs() < 80
    assert set(np.unique(as_voxels(forecast.rows.numpy()))) <= set(range(FREE + 1))
    confidence = forecast.confidence
    assert confidence.shape == (6, 50, 50) and (confidence >= 0).all() and (confidence <= 1).all()


def test_confidence_is_that_of_an_ego_that_stands_or_moves_given_or_expected(
    model: GenieDrive, scenes: list[ObservedScene], sequence: Sequence
) -> None:
    marked = copy.deepcopy(model)
    marked.confidence_of_origin.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4]]).reshape(2, 2, 1, 1))
    stands, drives = np.tile(np.eye(4), (6, 1, 1)), np.tile(np.eye(4), (6, 1, 1))
    drives[2:, 0, 3] = 0.5  # more than a voxel, from 1.5 s on
    for plan, said in ((stands, [0.3] * 6), (drives, [0.3] * 2 + [0.4] * 4)):
        forecast, _ = run_every_tick(marked, scenes[-1:], plan)
        torch.testing.assert_close(forecast.confidence.amax((1, 2)), torch.tensor(said))
        torch.testing.assert_close(forecast.confidence.amin((1, 2)), torch.tensor(said))
    expected, _ = run_every_tick(marked, scenes[-1:], None)
    moves = expected.trajectory[:, :2].norm(dim=1) > GRID.voxel_size
    torch.testing.assert_close(expected.confidence[:, 7, 7], torch.where(moves, 0.2, 0.1))


def test_state_has_the_documented_shapes(model: GenieDrive, scenes: list[ObservedScene]) -> None:
    _, state = run_every_tick(model, scenes, None)
    assert [tuple(k.shape) for k in state.keys] == [(2, 2500, 24)]
    assert [tuple(v.shape) for v in state.values] == [(2, 2500, 32)]
    assert state.filled.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(state.now_from_past[0].numpy(), 0)
    np.testing.assert_allclose(state.now_from_past[1].numpy(), scenes[-1].ego_motion, atol=1e-6)


def test_unknown_config_keys_and_types_are_refused() -> None:
    from calib.errors import InputError

    with pytest.raises(InputError, match="depth"):
        load_config("tiny", ["model.depth=3"])
    with pytest.raises(InputError, match="number"):
        load_config("tiny", ["train.learning_rate=1e-3"])
    with pytest.raises(InputError, match="huge"):
        load_config("huge")
