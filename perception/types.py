"""The base layer: what a voxel, an observation and a sensor frame are.

Shapes, everywhere in this project:
    X, Y, Z = 200, 200, 16   voxels of 0.4 m in the ego frame (x forward, y left, z up), Occ3D-nuScenes layout
    H = 6                    forecast horizons, 0.5 s apart
Everything here is numpy: the car needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError

CLASS_NAMES: tuple[str, ...] = (
    "others", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone",
    "trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation", "free",
)  # fmt: skip
NUM_CLASSES = len(CLASS_NAMES)
FREE = CLASS_NAMES.index("free")
DRIVEABLE = CLASS_NAMES.index("driveable_surface")
# Things that can travel: they are tracked and moved as rigid objects. Barriers and cones stand.
MOVABLE: tuple[int, ...] = tuple(
    CLASS_NAMES.index(n)
    for n in ("bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "trailer", "truck")
)
# What lies flat under everything else.
GROUND: tuple[int, ...] = tuple(
    CLASS_NAMES.index(n) for n in ("driveable_surface", "other_flat", "sidewalk", "terrain")
)
HORIZONS_S: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)


@dataclass(frozen=True)
class VoxelGrid:
    """An axis-aligned voxel grid in the ego frame. Defaults: Occ3D-nuScenes (x, y in [-40, 40] m, z in [-1, 5.4] m)."""

    shape: tuple[int, int, int] = (200, 200, 16)
    voxel_size: float = 0.4  # m
    origin: tuple[float, float, float] = (-40.0, -40.0, -1.0)  # m, the lower corner of voxel (0, 0, 0)

    def centers(self) -> NDArray[np.float64]:
        """Voxel centres, [X, Y, Z, 3] in metres."""
        axes = [o + (np.arange(n) + 0.5) * self.voxel_size for o, n in zip(self.origin, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def index_of(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Voxel indices of points [..., 3] (m). They may lie outside; the caller checks."""
        index: NDArray[np.int64] = np.floor((points - np.asarray(self.origin)) / self.voxel_size).astype(np.int64)
        return index


GRID = VoxelGrid()


@dataclass(frozen=True)
class Occupancy:
    """Semantic occupancy of one instant, in the ego frame of that instant.

    semantics:   uint8 [200, 200, 16], class ids of CLASS_NAMES; 17 is free.
    mask_lidar:  bool  [200, 200, 16] or None, voxels that a lidar ray crossed or hit.
    mask_camera: bool  [200, 200, 16] or None, voxels that a camera sees.
    source:      where it came from, for error messages.
    """

    semantics: NDArray[np.uint8]
    mask_lidar: NDArray[np.bool_] | None = None
    mask_camera: NDArray[np.bool_] | None = None
    source: Path | str | None = None

    def validate(self, grid: VoxelGrid = GRID) -> Occupancy:
        """Returns self, or raises InputError that names the source and what is wrong with it."""
        check_semantics(self.semantics, grid.shape, self.source)
        for name, mask in (("mask_lidar", self.mask_lidar), ("mask_camera", self.mask_camera)):
            if mask is not None and (mask.shape != grid.shape or mask.dtype != np.bool_):
                raise InputError(
                    f"{name} is {mask.dtype} {list(mask.shape)}",
                    expected=f"bool {list(grid.shape)}",
                    fix="write the masks with the shape of the semantics",
                    path=self.source,
                )
        return self


def check_semantics(semantics: NDArray[np.uint8], shape: tuple[int, ...], source: Path | str | None = None) -> None:
    """Raises InputError unless `semantics` is uint8, of `shape`, with class ids 0..17."""
    if semantics.dtype != np.uint8 or tuple(semantics.shape) != tuple(shape):
        raise InputError(
            f"semantics is {semantics.dtype} {list(semantics.shape)}",
            expected=f"uint8 {list(shape)} (x, y, z)",
            fix="convert the labels to the Occ3D layout",
            path=source,
        )
    highest = int(semantics.max()) if semantics.size else 0
    if highest >= NUM_CLASSES:
        raise InputError(
            f"class id {highest} in semantics",
            expected=f"ids 0..{NUM_CLASSES - 1} ({FREE} is free)",
            fix="map the labels to the 17 Occ3D classes and free",
            path=source,
        )


@dataclass(frozen=True)
class SensorFrame:
    """What the car knows at one instant.

    stamp_us:       int, microseconds, of the newest sensor used.
    world_from_ego: float64 [4, 4], pose of the ego frame at the stamp.
    occupancy:      what was perceived, or None where only odometry arrived.
    """

    stamp_us: int
    world_from_ego: NDArray[np.float64]
    occupancy: Occupancy | None = None

    def validate(self) -> SensorFrame:
        """Returns self, or raises InputError: pose not rigid, not finite, or the occupancy malformed."""
        pose = self.world_from_ego
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise InputError(
                f"world_from_ego is {list(pose.shape)} with finite={bool(np.isfinite(pose).all())}",
                expected="a finite rigid transform [4, 4]",
                fix="check the odometry that feeds this frame",
            )
        if np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 1e-3:
            raise InputError(
                "the rotation of world_from_ego is not orthonormal",
                expected="R @ R.T == I to 1e-3",
                fix="normalise the quaternion that the pose was made from",
            )
        if self.occupancy is not None:
            self.occupancy.validate()
        return self


@dataclass(frozen=True)
class SceneForecast:
    """How the scene will look: the output of the pipeline, in the ego frame of `stamp_us` moved along the trajectory.

    stamp_us:       the newest sensor used.
    world_from_ego: float64 [4, 4], the ego pose at the stamp.
    horizons_s:     float32 [H], seconds after the stamp.
    semantics:      uint8 [H, 200, 200, 16]; step h is in the *future* ego frame at horizons_s[h].
    trajectory:     float32 [H, 3]: x (m), y (m), yaw (rad) of the future ego frames in the ego frame at the stamp.
    confidence:     float32 [H, 50, 50]: probability that a voxel forecast as occupied in that column is right.
    inference_id:   counts inferences from 1; a re-published forecast keeps its id.
    timings_ms:     stage -> milliseconds.
    """

    stamp_us: int
    world_from_ego: NDArray[np.float64]
    horizons_s: NDArray[np.float32]
    semantics: NDArray[np.uint8]
    trajectory: NDArray[np.float32]
    confidence: NDArray[np.float32]
    inference_id: int
    timings_ms: dict[str, float] = field(default_factory=dict)
