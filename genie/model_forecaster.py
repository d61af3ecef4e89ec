"""A trained model, in PyTorch, as a forecaster for evaluation."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import planar, se3_from_xyz_yaw
from genie.forecast import INVENTED
from genie.forecaster import Forecaster, ForecastResult
from genie.inputs import model_inputs
from genie.model import EgoMotion, Forecast, GenieDrive, Plan, TrackedOccupancy
from genie.observation import ObservedScene, observe, start_observer
from genie.rows import as_voxels
from genie.state import empty_state
from genie.training.checkpoint import load_model
from perception.types import FREE, HORIZONS_S, SensorFrame

ABLATIONS = ("motion", "correction", "invention", "fill", "evidence")


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

    def forecast(self, ego_from_future: NDArray[np.float64] | None) -> ForecastResult:
        forecast = self.run(ego_from_future)
        trajectory = forecast.trajectory.numpy().astype(np.float64)
        xyz = np.concatenate([trajectory[:, :2], np.zeros((len(trajectory), 1))], axis=1)
        poses = ego_from_future if ego_from_future is not None else se3_from_xyz_yaw(xyz, trajectory[:, 2])
        semantics = as_voxels(forecast.rows.numpy())
        if not self.show_fill:
            semantics[forecast.origin.numpy() == INVENTED] = FREE
        return ForecastResult(semantics, poses, forecast.origin.numpy(), forecast.confidence.numpy())

    @torch.inference_mode()
    def run(self, ego_from_future: NDArray[np.float64] | None) -> Forecast:
        """The full output of the newest tick."""
        if not self._recent:
            raise ValueError("forecast() before the first observe()")
        plan = plan_tensors(ego_from_future)
        state = empty_state(self.model.config)
        *past, present = self._recent
        for scene in past:
            state = self.model.remember(*tick_tensors(scene), state)
        return self.model.step(*tick_tensors(present), state, plan)[0]


def tick_tensors(scene: ObservedScene) -> tuple[TrackedOccupancy, EgoMotion]:
    """The arrays of an observation as the tensors of `GenieDrive.step`."""
    arrays = model_inputs(scene).values()
    tensors = [torch.from_numpy(a) if a.flags.writeable else torch.tensor(a) for a in arrays]
    count = len(TrackedOccupancy._fields)
    return TrackedOccupancy(*tensors[:count]), EgoMotion(*tensors[count:])


def plan_tensors(ego_from_future: NDArray[np.float64] | None) -> Plan:
    """A given plan [H, 4, 4], or none."""
    if ego_from_future is None:
        return Plan(torch.zeros(len(HORIZONS_S), 3), torch.zeros(1))
    return Plan(torch.from_numpy(planar(ego_from_future).astype(np.float32)), torch.ones(1))


def check_ablations(parts: tuple[str, ...]) -> None:
    for part in parts:
        if part not in ABLATIONS:
            raise InputError(f"no part {part!r} to ablate", expected=", ".join(ABLATIONS), fix="choose one of them")


def zero_parts(model: GenieDrive, parts: tuple[str, ...]) -> GenieDrive:
    """Zeroes learned weights in place: `correction` of the measured motion, `motion` (nothing moves but the ego),
    `invention` (the copied ground remains)."""
    with torch.no_grad():
        if "correction" in parts or "motion" in parts:
            model.motion.residual.weight.zero_()
            model.motion.residual.bias.zero_()
        if "motion" in parts:
            model.motion.measured_scale.zero_()
        if "invention" in parts:
            model.invention.forget()
    return model


def load_forecaster(path: Path, parts: tuple[str, ...] = ()) -> Forecaster:
    """A checkpoint (file or run folder), or an export directory, as a forecaster."""
    path = Path(path)
    if (path / "manifest.json").is_file():
        raise InputError(
            "an export directory", expected="a checkpoint", fix="use the run folder it came from", path=path
        )
    check_ablations(parts)
    model, _ = load_model(path)
    name = path.parent.name if path.is_file() else path.name
    return ModelForecaster(
        zero_parts(model, parts), name, show_fill="fill" not in parts, keep_evidence="evidence" not in parts
    )
