"""SensorFrame in, SceneForecast out: what runs on the car. numpy and a runtime; no torch.

observe    the one preprocessing: objects, their measured motion, how the ego moved
tick       one run of the network; its state stays in the runtime
assemble   the forecast, in memory of its own
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import inverse, planar, se3_from_xyz_yaw
from deploy.graph_runtime import GraphRuntime
from deploy.runtime import open_runtime
from deploy.spec import COMMAND, CONFIDENCE, PLAN, PLAN_GIVEN, ROWS, TRAJECTORY
from genie.command import Command, one_hot
from genie.forecaster import EgoPlan
from genie.inputs import model_inputs
from genie.observation import ObservedScene, observe, start_observer
from genie.rows import as_voxels
from perception.types import FREE, GRID, HORIZONS_S, Occupancy, SceneForecast, SensorFrame

Array = np.ndarray[Any, Any]


class Pipeline:
    """One stream of frames. `step` and `reset` belong to one thread; `reanchor` may be called from any."""

    bundle_id: str  # short sha256 of the manifest
    rig_sha256: str | None  # of the sensor rig that the bundle was made for

    def __init__(self, bundle: Path, *, threads: int = 2, backend: str = "ort") -> None:
        """
        Args:
            bundle: folder that `geniedrive export` wrote.
            threads: of the network on the CPU.
            backend: one of deploy.runtime.BACKENDS.

        Raises:
            InputError: the folder is not a whole, unchanged export of this version's grid, classes and horizons; or
                the backend cannot run here.
        """
        self._runtime = open_runtime(bundle, backend, threads=threads)
        self.bundle_id = self._runtime.manifest.bundle_id
        self.rig_sha256 = self._runtime.manifest.rig_sha256
        self._observer = start_observer()
        self._inferences = 0

    @property
    def computed(self) -> int:
        """Columns that the last step computed; 0 where all are, always (dense form), and before the first."""
        return self._runtime.bucket().bucket

    def bound(self, most_columns: int | None) -> None:
        """A bound on the time of a tick (docs/decisions/016-a-bound-on-a-tick.md). InputError for the dense form."""
        self._runtime.bound(most_columns)

    def warm_up(self) -> None:
        """Runs preprocessing and every graph, so that no frame pays for what is allocated once. Resets."""
        empty = Occupancy(np.full(GRID.shape, FREE, np.uint8))
        scene, _ = observe(SensorFrame(0, np.eye(4), empty), start_observer())
        self._runtime.tick(tick_inputs(scene, None))
        self._runtime.warm_up()
        self.reset()

    @property
    def runtime(self) -> GraphRuntime:
        """What runs the graphs; for checks before a stream begins (deploy/self_test.py)."""
        return self._runtime

    def reset(self) -> None:
        """Forgets the stream; the next frame is a first frame. Inferences are counted on."""
        self._runtime.reset()
        self._observer = start_observer()

    def step(self, frame: SensorFrame, plan: EgoPlan = None) -> SceneForecast:
        """Forecasts from the newest frame and what the stream has shown before.

        A gap of more than 1.2 s, or a stamp that is not later than the last, starts afresh: see
        `genie.observation.observe`. A frame that raises leaves the stream as it was.

        Args:
            frame: with occupancy.
            plan: ego_from_future float64 [H, 4, 4], where the ego will be at HORIZONS_S, in the ego frame of `frame`;
                or where the model expects it to be, after a command (genie.command.Command), or None.

        Raises:
            InputError: the frame or the plan is malformed.
            ValueError: the frame has no occupancy.
        """
        timings_ms: dict[str, float] = {}
        with _stage("observe", timings_ms):
            scene, observer = observe(frame, self._observer)
        with _stage("tick", timings_ms):
            outputs = self._runtime.tick(tick_inputs(scene, plan))
        self._observer = observer
        self._inferences += 1
        with _stage("assemble", timings_ms):
            return self._assemble(frame, outputs, timings_ms)

    def reanchor(self, forecast: SceneForecast, world_from_ego: NDArray[np.float64], stamp_us: int) -> SceneForecast:
        """Tells a forecast from a newer ego pose, without inference.

        Exact: every step stays the same world content at the same place and absolute time (semantics and confidence
        of step h are those of the future ego frame of step h, which does not move); hence `horizons_s` shrink by the
        time passed, and are negative for steps that have passed. `inference_id` and `timings_ms` stay those of the
        inference.
        Not exact: the trajectory is planar, so a change of height, pitch or roll between the two poses is dropped.
        Nothing observed since is in it, and if the ego left the forecast trajectory, the steps still look from there.

        Args:
            forecast: as `step` returned it; re-anchor that one each time, not the last re-anchored.
            world_from_ego: float64 [4, 4], the newer pose.
            stamp_us: its time; not before the forecast's.
        """
        if stamp_us < forecast.stamp_us:
            raise ValueError(f"reanchor() to {stamp_us} us, before the forecast's own {forecast.stamp_us} us")
        now_from_then = inverse(world_from_ego) @ forecast.world_from_ego
        trajectory = planar(now_from_then @ poses_of(forecast.trajectory))
        passed_s = (stamp_us - forecast.stamp_us) * 1e-6
        return replace(
            forecast,
            stamp_us=stamp_us,
            world_from_ego=world_from_ego,
            horizons_s=(forecast.horizons_s - passed_s).astype(np.float32),
            trajectory=trajectory.astype(np.float32),
        )

    def _assemble(self, frame: SensorFrame, outputs: dict[str, Array], timings_ms: dict[str, float]) -> SceneForecast:
        """Copies: the runtime writes its next outputs into the same memory."""
        return SceneForecast(
            stamp_us=frame.stamp_us,
            world_from_ego=frame.world_from_ego,
            horizons_s=np.asarray(HORIZONS_S, np.float32),
            semantics=as_voxels(outputs[ROWS].copy()),
            trajectory=outputs[TRAJECTORY].copy(),
            confidence=outputs[CONFIDENCE].copy(),
            inference_id=self._inferences,
            timings_ms=timings_ms,
        )


def tick_inputs(scene: ObservedScene, plan: EgoPlan) -> dict[str, Array]:
    """The inputs of a tick by name, but for the state.

    Args:
        plan: ego_from_future [H, 4, 4], a command, or None.

    Raises:
        InputError: the plan is malformed.
    """
    horizons = len(HORIZONS_S)
    command = one_hot(plan if isinstance(plan, Command) else None)
    if not isinstance(plan, np.ndarray):
        given = {PLAN: np.zeros((horizons, 3), np.float32), PLAN_GIVEN: np.zeros(1, np.float32)}
    elif plan.shape != (horizons, 4, 4) or not np.isfinite(plan).all():
        raise InputError(
            f"plan is {list(plan.shape)} with finite={bool(np.isfinite(plan).all())}",
            expected=f"finite ego_from_future [{horizons}, 4, 4]",
            fix="give one pose for each of the horizons, or no plan",
        )
    else:
        given = {PLAN: planar(plan).astype(np.float32), PLAN_GIVEN: np.ones(1, np.float32)}
    return {**model_inputs(scene), **given, COMMAND: command}


def poses_of(trajectory: NDArray[np.floating]) -> NDArray[np.float64]:
    """Planar poses x (m), y (m), yaw (rad) [..., 3] as transforms [..., 4, 4]."""
    xy, yaw = trajectory[..., :2].astype(np.float64), trajectory[..., 2].astype(np.float64)
    return se3_from_xyz_yaw(np.concatenate([xy, np.zeros_like(xy[..., :1])], axis=-1), yaw)


@contextmanager
def _stage(name: str, timings_ms: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings_ms[name] = (time.perf_counter() - start) * 1e3
