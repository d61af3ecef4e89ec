"""Lidar sweeps and camera images in, occupancy out, as on the car: ONNX Runtime, no torch.

prepare   sweeps to voxel features, images to the network's size (perception.prepare: as in training)
perceive  the exported graph
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from deploy.perception_spec import IMAGES, INDEX, LIDAR, PERCEIVE, PRESENT, read_perception_manifest
from deploy.runtime import open_session
from perception.prepare import CameraInput, RigPlan, camera_input, lidar_input, plan_rig
from perception.preprocess import normalise
from perception.types import Occupancy
from perception.voxelize import LidarSweep


class Told(NamedTuple):
    """By the graph. semantics: uint8, the likeliest class. occupied: probability of each voxel."""

    semantics: UInt8[NDArray[np.uint8], "X Y Z"]
    occupied: Float[NDArray[np.float32], "X Y Z"]


@dataclass(frozen=True)
class PerceivedFrame:
    """occupancy: in the ego frame of the newest sweep, without one of the images. occupied: probability of each voxel.
    cameras: which of perception.config.CAMERAS delivered. stage_ms: time of each stage, by name."""

    occupancy: Occupancy
    occupied: Float[NDArray[np.float32], "X Y Z"]
    cameras: tuple[bool, ...]
    stage_ms: dict[str, float]


class PerceptionGraph:
    """An exported perception, on what was prepared for one rig."""

    def __init__(self, export: Path, plan: RigPlan, *, threads: int = 2) -> None:
        """
        Raises:
            InputError: no export of a perception, or a damaged one.
        """
        self.manifest = manifest = read_perception_manifest(export)
        self._index = _index(plan) if manifest.config.model.camera else {}
        self._session = open_session(Path(export) / manifest.graph.file, manifest.graph, threads)
        self._silent = {s.name: s.empty() for s in manifest.graph.inputs if s.name not in INDEX}

    def run(self, lidar: NDArray[np.uint8] | None, seen: CameraInput | None) -> Told:
        """
        Args:
            lidar: uint8 [F, Z, X, Y] (perception.prepare.lidar_input). None: it is silent, or not read.
        """
        inputs = {**self._silent, **self._index}
        if lidar is not None and LIDAR in inputs:
            inputs[LIDAR] = lidar[None]
        if seen is not None and IMAGES in inputs:
            inputs |= {IMAGES: normalise(seen.images)[None], PRESENT: seen.present[None].astype(np.float32)}
        semantics, occupied = self._session.run(None, inputs)
        return Told(semantics[0], occupied[0])


def _index(plan: RigPlan) -> dict[str, NDArray[np.int32]]:
    return {name: part for name, part in zip(INDEX, plan.table, strict=True) if part is not None}


class Perception:
    """One rig's perception."""

    def __init__(self, export: Path, rig: Rig, *, threads: int = 2) -> None:
        """
        Raises:
            InputError: no export of a perception, a damaged one, or a rig without its cameras.
        """
        self._plan = plan_rig(rig, read_perception_manifest(export).config.model)
        self._graph = PerceptionGraph(export, self._plan, threads=threads)
        self.manifest = self._graph.manifest
        self._config = self.manifest.config.model

    def warm_up(self) -> None:
        """Runs the graph once on nothing: a first run allocates, and must not fall into a drive."""
        self._graph.run(None, None)

    def perceive(self, sweeps: Sequence[LidarSweep], images: Mapping[str, NDArray[np.uint8]]) -> PerceivedFrame:
        """
        Args:
            sweeps: the newest ones, at most as many as the network was trained with; () where the lidar is silent.
            images: BGR of the native size by camera name; those that did not deliver are left out.

        Raises:
            InputError: neither sweeps nor images for this network, or an image of another size than the rig's.
        """
        start = time.perf_counter()
        lidar, seen = self._prepare(sweeps, images)
        prepared = time.perf_counter()
        told = self._graph.run(lidar, seen)
        ended = time.perf_counter()
        return PerceivedFrame(
            Occupancy(told.semantics, source=PERCEIVE),
            told.occupied,
            () if seen is None else tuple(bool(p) for p in seen.present),
            {"prepare": 1e3 * (prepared - start), "perceive": 1e3 * (ended - prepared)},
        )

    def _prepare(
        self, sweeps: Sequence[LidarSweep], images: Mapping[str, NDArray[np.uint8]]
    ) -> tuple[NDArray[np.uint8] | None, CameraInput | None]:
        config = self._config
        some = (config.lidar and len(sweeps) > 0) or (config.camera and len(images) > 0)
        if not some:
            raise InputError(
                f"{len(sweeps)} sweeps and {len(images)} images",
                expected="at least one of those that the network reads",
                fix="wait for the sensors, or use a network for those that there are",
            )
        newest = sorted(sweeps, key=lambda s: s.stamp_us)[-config.sweeps :] if config.lidar else []
        return lidar_input(newest) if newest else None, camera_input(self._plan, images) if config.camera else None
