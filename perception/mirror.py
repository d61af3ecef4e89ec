"""Left and right exchanged: twice the scenes for the training. A mirrored image is one of a mirrored rig, which has a
table of its own (perception.lift_table)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.rig import Camera, Rig
from perception.batches import Batch
from perception.config import CAMERAS
from perception.lift import LiftIndex

_SIDES = {"LEFT": "RIGHT", "RIGHT": "LEFT"}


def other_side(name: str) -> str:
    """CAM_BACK_LEFT -> CAM_BACK_RIGHT; what is on no side stays."""
    return "_".join(_SIDES.get(part, part) for part in name.split("_"))


def mirror_rig(rig: Rig) -> Rig:
    """The rig that would have taken the mirrored images: y turned round in the ego frame, x in the cameras'."""
    ego, camera = np.diag([1.0, -1.0, 1.0, 1.0]), np.diag([-1.0, 1.0, 1.0, 1.0])

    def mirrored(sensor: Camera) -> Camera:
        lens = sensor.intrinsics
        # The tangential p2 of OpenCV's pinhole models turns with x; the fisheye's coefficients are all radial.
        odd = 3 if lens.model == "pinhole" else None
        distortion = tuple(-d if i == odd else d for i, d in enumerate(lens.distortion))
        lens = replace(lens, centre=(lens.size[0] - 1 - lens.centre[0], lens.centre[1]), distortion=distortion)
        mount = replace(sensor.mount, ego_from_sensor=ego @ sensor.mount.ego_from_sensor @ camera)
        return replace(sensor, name=other_side(sensor.name), intrinsics=lens, mount=mount)

    return replace(rig, cameras=tuple(mirrored(c) for c in rig.cameras))


def mirror(batch: Batch, index: LiftIndex | None) -> Batch:
    """The scene in a mirror.

    Args:
        index: of the mirrored rig; None: a batch without cameras.
    """
    inputs, truth = batch
    order = [CAMERAS.index(other_side(name)) for name in CAMERAS]
    lidar, images, present, depth = inputs.lidar, inputs.images, inputs.present, truth.depth
    return Batch(
        inputs._replace(
            lidar=None if lidar is None else lidar.flip(-1),
            images=None if images is None else images[:, order].flip(-1),
            present=None if present is None else present[:, order],
            lifting=index,
        ),
        truth._replace(
            semantics=truth.semantics.flip(-1),
            counts=truth.counts.flip(-1),
            depth=None if depth is None else depth[:, order].flip(-1),
        ),
    )
