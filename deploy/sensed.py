"""Forecasts from what the sensors show, held against forecasts from the truth: `geniedrive eval sensors`.

A scene's sensor files give the occupancy at each frame of its stream; a forecaster that is told that in place of the
truth is then scored against the truth, like any other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from calib.tables import read_image, read_sweep
from deploy.expected import expected_now
from deploy.perceive import PerceivedFrame, Perception
from deploy.pipeline import Pipeline
from genie.data.bag.source import BagSource, Reading
from genie.data.sequence import Sequence
from genie.forecaster import EgoPlan, Forecaster, ForecastResult
from perception.steady import Look, SteadyOccupancy
from perception.types import Occupancy, SceneForecast, SensorFrame
from perception.voxelize import LidarSweep

NEAR_US = 100_000  # an image further from the frame is left out


class Seen(NamedTuple):
    """What perception tells of one stream, frame by frame: uint8 [T, X, Y, Z]. raw: each frame by itself. steady: with
    evidence over time. prior: and with the world model's own forecast for now."""

    raw: NDArray[np.uint8]
    steady: NDArray[np.uint8]
    prior: NDArray[np.uint8]


class SensedScene:
    """The sensor files of one scene, by the frames of its stream."""

    def __init__(self, source: BagSource, rig: Rig, lidar: str) -> None:
        """
        Raises:
            InputError: the data root has no sweep of that lidar for the scene.
        """
        self._poses = source.poses()
        readings = list(source.readings())
        self._sweeps = [r for r in readings if r.channel == lidar]
        self._images: dict[str, list[Reading]] = {}
        for reading in readings:
            if reading.modality == "camera":
                self._images.setdefault(reading.channel, []).append(reading)
        if not self._sweeps:
            raise InputError(
                f"no sweeps of {lidar} in {source.scene}", expected="samples/ and sweeps/ of nuScenes",
                fix="make them: geniedrive data synth --lidar --cameras", path=source.root,
            )  # fmt: skip
        self._mount = rig.lidar(lidar).mount.ego_from_sensor

    def sweeps(self, stamp_us: int, count: int) -> list[LidarSweep]:
        """The last `count` up to a frame, with the poses of the tables."""
        end = bisect_right([r.stamp_us for r in self._sweeps], stamp_us)
        return [
            LidarSweep(read_sweep(r.path), r.stamp_us, self._poses.at(r.stamp_us), self._mount)
            for r in self._sweeps[max(0, end - count) : end]
        ]

    def images(self, stamp_us: int) -> dict[str, NDArray[np.uint8]]:
        """Of each camera the one nearest to a frame."""
        found = {}
        for name, readings in self._images.items():
            nearest = min(readings, key=lambda r: abs(r.stamp_us - stamp_us))
            if abs(nearest.stamp_us - stamp_us) <= NEAR_US:
                found[name] = read_image(nearest.path)
        return found


def see(
    scene: SensedScene,
    sequence: Sequence,
    perception: Perception,
    bundle: Path,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Seen:
    """Perception of each frame of a stream, in the three ways of `Seen`.

    Args:
        bundle: of the world model whose forecasts are the prior.
    """
    model = Pipeline(bundle)
    alone, helped = SteadyOccupancy(), SteadyOccupancy()
    recent: list[SceneForecast] = []
    told: list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]] = []
    gathers = perception.manifest.config.model.sweeps
    for t in progress(range(len(sequence))):
        frame = sequence.frame(t)
        sweeps = scene.sweeps(frame.stamp_us, gathers)
        found: PerceivedFrame = perception.perceive(sweeps, scene.images(frame.stamp_us))
        look = Look(found.occupied, found.occupancy.semantics)
        expected = expected_now(recent, frame.stamp_us)
        steady = alone.update(look, frame.world_from_ego, frame.stamp_us)
        prior = helped.update(look, frame.world_from_ego, frame.stamp_us, expected)
        recent = [*recent[-7:], model.step(SensorFrame(frame.stamp_us, frame.world_from_ego, prior))]
        told.append((found.occupancy.semantics, steady.semantics, prior.semantics))
    return Seen(*(np.stack([frame[way] for frame in told]) for way in range(3)))


class SensedForecaster:
    """A forecaster that is told what was seen in place of what is."""

    def __init__(self, name: str, inner: Forecaster, seen: dict[int, NDArray[np.uint8]]) -> None:
        """seen: by the stamp (us) of the frame."""
        self.name, self._inner, self._seen = name, inner, seen

    def reset(self) -> None:
        self._inner.reset()

    def observe(self, frame: SensorFrame) -> None:
        occupancy = Occupancy(self._seen[frame.stamp_us], source="perception")
        self._inner.observe(SensorFrame(frame.stamp_us, frame.world_from_ego, occupancy))

    def forecast(self, ego_from_future: EgoPlan) -> ForecastResult:
        return self._inner.forecast(ego_from_future)


def ways(seen: Seen, stamps: NDArray[np.int64]) -> Iterator[tuple[str, dict[int, NDArray[np.uint8]]]]:
    """Name and frames by stamp of each way."""
    for name, frames in zip(Seen._fields, seen, strict=True):
        yield name, {int(stamp): frames[t] for t, stamp in enumerate(stamps)}
