"""A frame of sensors to occupancy, one after the other, in a thread of its own: decode, prepare, perceive, steady."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from deploy.perceive import Perception
from perception.steady import Expected, Look, SteadyConfig, SteadyOccupancy
from perception.types import Occupancy
from perception.voxelize import LidarSweep

Decode = Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class SensedFrame:
    """What a frame is made of. images: by camera. expected: what was foreseen for now. epoch: which stretch of data it
    belongs to; evidence of an earlier one is forgotten."""

    stamp_us: int
    world_from_ego: NDArray[np.float64]
    sweeps: tuple[LidarSweep, ...]
    images: Mapping[str, Decode]
    expected: Expected | None
    epoch: int


@dataclass(frozen=True)
class Perceived:
    """occupancy: in the ego frame at `stamp_us`; None where every image was refused, and there was nothing else.
    cameras: names of those that it was made from. lidar: whether it was one of them. foreseen: whether a forecast for
    then was. refused: why images were left out. stage_ms: time of each stage, by name. epoch: of the frame."""

    stamp_us: int
    occupancy: Occupancy | None
    cameras: tuple[str, ...]
    lidar: bool
    foreseen: bool
    refused: tuple[str, ...]
    stage_ms: dict[str, float]
    epoch: int = 0


class FramePerception:
    """One rig's perception with the evidence of a stream."""

    def __init__(self, perception: Perception, rig: Rig, steady: SteadyConfig | None = None) -> None:
        self._perception, self._rig = perception, rig
        self._steady, self._epoch = SteadyOccupancy(steady), 0

    def __call__(self, frame: SensedFrame) -> Perceived:
        if frame.epoch != self._epoch:
            self._steady.reset()
            self._epoch = frame.epoch
        start = time.perf_counter()
        images, refused = self._decoded(frame.images)
        if not frame.sweeps and not images:
            return Perceived(frame.stamp_us, None, (), False, False, refused, {}, frame.epoch)
        decoded = time.perf_counter()
        seen = self._perception.perceive(frame.sweeps, images)
        told = time.perf_counter()
        look = Look(seen.occupied, seen.occupancy.semantics)
        occupancy = self._steady.update(look, frame.world_from_ego, frame.stamp_us, frame.expected)
        steady_ms = 1e3 * (time.perf_counter() - told)
        return Perceived(
            stamp_us=frame.stamp_us,
            occupancy=occupancy,
            cameras=tuple(sorted(images)),
            lidar=bool(frame.sweeps),
            foreseen=frame.expected is not None,
            refused=refused,
            stage_ms={"decode": 1e3 * (decoded - start), **seen.stage_ms, "steady": steady_ms},
            epoch=frame.epoch,
        )

    def _decoded(self, images: Mapping[str, Decode]) -> tuple[dict[str, NDArray[np.uint8]], tuple[str, ...]]:
        """Those that are images of the rig's cameras, and why the others are not."""
        good, refused = {}, []
        for name, decode in images.items():
            width, height = self._rig.camera(name).intrinsics.size
            try:
                image = decode()
            except InputError as error:
                refused.append(f"{name}: {error}")
                continue
            if image.shape[:2] == (height, width):
                good[name] = image
            else:
                found = f"{image.shape[1]} x {image.shape[0]}"
                refused.append(f"{name}: an image of {found}, expected {width} x {height} as in the rig")
        return good, tuple(refused)
