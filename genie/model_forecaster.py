"""A trained model in its dense form, in PyTorch, as a forecaster for evaluation."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch

from calib.transforms import planar, se3_from_xyz_yaw
from genie.command import Command, one_hot
from genie.forecast import INVENTED
from genie.forecaster import EgoPlan, ForecastResult
from genie.inputs import model_inputs
from genie.model import EgoMotion, Forecast, GenieDrive, Plan, TrackedOccupancy
from genie.observation import ObservedScene, observe, start_observer
from genie.rows import as_voxels
from genie.state import empty_state
from perception.types import FREE, HORIZONS_S, SensorFrame


class ModelForecaster:
    """Runs one `GenieDrive.step` when a forecast is asked for.

    A tick's state depends on exactly the last `history` frames, so remembering those few gives the same forecast as
    running every frame (a test compares), at a fraction of the time.
    """

    def __init__(self, model: GenieDrive, name: str, *, show_fill: bool = True, keep_evidence: bool = True) -> None:
        """Without show_fill, cells outside the observation stay free; without keep_evidence, every static voxel comes
        from the present frame."""
        self.model, self.name, self.show_fill, self.keep_evidence = model, name, show_fill, keep_evidence
        self.reset()

    def reset(self) -> None:
        self._observer = start_observer(keep_evidence=self.keep_evidence)
        self._recent: deque[ObservedScene] = deque(maxlen=self.model.config.history + 1)

    def observe(self, frame: SensorFrame) -> None:
        scene, self._observer = observe(frame, self._observer)
        self._recent.append(scene)

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        return told(self.run(ego_from_future), ego_from_future, show_fill=self.show_fill)

    @torch.inference_mode()
    def run(self, ego_from_future: EgoPlan) -> Forecast:
        """The full output of the newest tick."""
        if not self._recent:
            raise ValueError("forecast() before the first observe()")
        plan = plan_tensors(ego_from_future)
        state = empty_state(self.model.config)
        *past, present = self._recent
        for scene in past:
            state = self.model.remember(*tick_tensors(scene), state)
        return self.model.step(*tick_tensors(present), state, plan)[0]


def told(forecast: Forecast, ego_from_future: EgoPlan, *, show_fill: bool = True) -> ForecastResult:
    """A forecast as evaluation takes it, at the given future poses or at the model's own."""
    trajectory = forecast.trajectory.numpy().astype(np.float64)
    xyz = np.concatenate([trajectory[:, :2], np.zeros((len(trajectory), 1))], axis=1)
    poses = ego_from_future if isinstance(ego_from_future, np.ndarray) else se3_from_xyz_yaw(xyz, trajectory[:, 2])
    semantics = as_voxels(forecast.rows.numpy())
    if not show_fill:
        semantics[forecast.origin.numpy() == INVENTED] = FREE
    return ForecastResult(semantics, poses, forecast.origin.numpy(), forecast.confidence.numpy())


def tick_tensors(scene: ObservedScene) -> tuple[TrackedOccupancy, EgoMotion]:
    """The arrays of an observation as the tensors of `GenieDrive.step`."""
    arrays = model_inputs(scene).values()
    tensors = [torch.from_numpy(a) if a.flags.writeable else torch.tensor(a) for a in arrays]
    count = len(TrackedOccupancy._fields)
    return TrackedOccupancy(*tensors[:count]), EgoMotion(*tensors[count:])


def plan_tensors(plan: EgoPlan) -> Plan:
    """A given plan [H, 4, 4], a command, or none."""
    if plan is None or isinstance(plan, Command):
        return Plan(torch.zeros(len(HORIZONS_S), 3), torch.zeros(1), torch.from_numpy(one_hot(plan)))
    poses = torch.from_numpy(planar(plan).astype(np.float32))
    return Plan(poses, torch.ones(1), torch.from_numpy(one_hot(None)))
