"""The ego's own future: what it is told, what it does, and that both reach the trajectory head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genie.command import Command, command_of, one_hot
from genie.config import load_config
from genie.model import GenieDrive
from genie.model_forecaster import ModelForecaster
from genie.observation import observe, start_observer
from perception.types import HORIZONS_S
from tests.genie.gated_scenes import STREET, View, frames_of

TOWARDS = {Command.LEFT: 3.0, Command.STRAIGHT: 1.5, Command.RIGHT: -3.0}


@pytest.mark.parametrize("command", Command)
def test_a_command_is_where_the_trajectory_ends(command: Command) -> None:
    trajectory = np.zeros((len(HORIZONS_S), 3))
    trajectory[-1, 1] = TOWARDS[command]
    assert command_of(trajectory) is command
    assert one_hot(command).tolist() == [float(c is command) for c in Command]


def test_no_command_where_the_end_is_unknown() -> None:
    assert command_of(np.full((len(HORIZONS_S), 3), np.nan)) is None
    assert not one_hot(None).any()


def test_acceleration_is_measured() -> None:
    times = np.arange(0.0, 1.45, 0.1)
    state = start_observer(keep_evidence=False)
    views = [View(STREET, (4.0 * t + 0.75 * t * t, 0.0, 0.0)) for t in times]
    for index, frame in enumerate(frames_of(views, 0.1)):
        scene, state = observe(frame, state)
        if index < 2:
            assert not scene.ego_acceleration.any(), "one velocity tells of no acceleration"
    np.testing.assert_allclose(scene.ego_acceleration, [1.5, 0.0], atol=1e-3)


def test_a_command_and_an_acceleration_reach_the_trajectory() -> None:
    """With random weights, each command and each acceleration gives a trajectory of its own."""
    model = GenieDrive(load_config("tiny").model).eval()
    head, horizons = model.trajectory, len(HORIZONS_S)
    plan = ModelForecaster(model, "random")
    ego = torch.zeros(1, 3), torch.zeros(1, 2)
    with torch.no_grad():
        torch.nn.init.normal_(head.residual.weight)
        outs = [head(*ego, torch.from_numpy(one_hot(c)).unsqueeze(0)) for c in (*Command, None)]
        faster = head(ego[0], torch.ones(1, 2), torch.zeros(1, 3))
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(outs) for b in outs[:i])
    assert (faster - outs[-1]).abs().max() > 1e-3
    trajectories = []
    for told in (Command.LEFT, Command.RIGHT, None):
        plan.reset()
        for frame in frames_of([View(STREET, (0.0, 0.0, 0.0))] * 3, 0.1):
            plan.observe(frame)
        result = plan.forecast(told)
        assert result.ego_from_future.shape == (horizons, 4, 4)
        trajectories.append(result.ego_from_future)
    assert not np.allclose(trajectories[0], trajectories[1])
    assert not np.allclose(trajectories[0], trajectories[2])
