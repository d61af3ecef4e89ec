"""Lidar sweeps and camera images in, occupancy out, as on the car: ONNX Runtime, no torch.

prepare   sweeps to voxel features, images to the network's size (perception.prepare: as in training)
perceive  the exported graph
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from jaxtyping import Float
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from deploy.perception_spec import IMAGES, INDEX, LIDAR, PERCEIVE, PRESENT, read_perception_manifest
from perception.prepare import camera_input, lidar_input, plan_rig
from perception.preprocess import normalise
from perception.types import Occupancy
from perception.voxelize import LidarSweep

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PerceivedFrame:
    """occupancy: in the ego frame of the newest sweep, without one of the images. occupied: probability of each voxel.
    cameras: which of perception.config.CAMERAS delivered. stage_ms: time of each stage, by name."""

    occupancy: Occupancy
    occupied: Float[NDArray[np.float32], "X Y Z"]
    cameras: tuple[bool, ...]
    stage_ms: dict[str, float]


class Perception:
    """One rig's perception."""

    def __init__(self, export: Path, rig: Rig, *, threads: int = 2) -> None:
        """
        Raises:
            InputError: no export of a perception, a damaged one, or a rig without its cameras.
        """
        self.manifest = read_perception_manifest(export)
        self._config = self.manifest.config.model
        self._plan = plan_rig(rig, self._config)
        self._index = dict(zip(INDEX, self._plan.table, strict=True)) if self._config.camera else {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(export) / self.manifest.graph.file
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def warm_up(self) -> None:
        """Runs the graph once on nothing: a first run allocates, and must not fall into a drive."""
        self._session.run(None, {spec.name: spec.empty() for spec in self.manifest.graph.inputs})

    def perceive(self, sweeps: Sequence[LidarSweep], images: Mapping[str, NDArray[np.uint8]]) -> PerceivedFrame:
        """
        Args:
            sweeps: the newest ones, at most as many as the network was trained with; () where the lidar is silent.
            images: BGR of the native size by camera name; those that did not deliver are left out.

        Raises:
            InputError: neither sweeps nor images for this network, or an image of another size than the rig's.
        """
        start = time.perf_counter()
        inputs, present = self._prepare(sweeps, images)
        prepared = time.perf_counter()
        semantics, occupied = self._session.run(None, inputs)
        told = time.perf_counter()
        return PerceivedFrame(
            Occupancy(semantics[0], source=PERCEIVE),
            occupied[0],
            tuple(bool(p) for p in present),
            {"prepare": 1e3 * (prepared - start), "perceive": 1e3 * (told - prepared)},
        )

    def _prepare(
        self, sweeps: Sequence[LidarSweep], images: Mapping[str, NDArray[np.uint8]]
    ) -> tuple[dict[str, Array], NDArray[np.bool_]]:
        config = self._config
        some = (config.lidar and len(sweeps) > 0) or (config.camera and len(images) > 0)
        if not some:
            raise InputError(
                f"{len(sweeps)} sweeps and {len(images)} images",
                expected="at least one of those that the network reads",
                fix="wait for the sensors, or use a network for those that there are",
            )
        inputs: dict[str, Array] = {}
        present = np.zeros(0, bool)
        if config.lidar:
            spec = next(s for s in self.manifest.graph.inputs if s.name == LIDAR)
            newest = sorted(sweeps, key=lambda s: s.stamp_us)[-config.sweeps :]
            inputs[LIDAR] = lidar_input(newest)[None] if newest else spec.empty()
        if config.camera:
            seen = camera_input(self._plan, images)
            present = seen.present
            inputs |= {IMAGES: normalise(seen.images)[None], PRESENT: present[None].astype(np.float32), **self._index}
        return inputs, present
