"""What is fixed for a rig, and from it the network's inputs: the same in training and on the car. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.camera import project
from calib.errors import InputError
from calib.rig import Camera, Rig
from calib.transforms import Array, apply, inverse
from perception.config import CAMERAS, ModelConfig
from perception.lift_table import LiftTable, depth_borders, lift_table, paint_table
from perception.preprocess import ImagePlan, clean_returns, plan_images, resize_image
from perception.voxelize import LidarSweep, voxelize

STRIDE = 8  # px of an image a feature (perception.backbone)
PAINT_STRIDE = STRIDE // 2  # of the finest
UNKNOWN_DEPTH = 255


class RigPlan(NamedTuple):
    """cameras, plans: in the order of CAMERAS, None where the rig has none of that name. table: where voxels look."""

    config: ModelConfig
    cameras: tuple[Camera | None, ...]
    plans: tuple[ImagePlan | None, ...]
    table: LiftTable


class CameraInput(NamedTuple):
    """images: uint8 BGR [N, H, W, 3], black where a camera did not deliver. present: bool [N]."""

    images: NDArray[np.uint8]
    present: NDArray[np.bool_]


def plan_rig(rig: Rig, config: ModelConfig) -> RigPlan:
    """
    Raises:
        InputError: none of the rig's cameras has one of the names, or images too flat for the network.
    """
    named = {camera.name: camera for camera in rig.cameras}
    cameras = tuple(named.get(name) for name in CAMERAS)
    if config.camera and not any(cameras):
        raise InputError(
            f"the rig {rig.name!r} has cameras {', '.join(named) or 'none'}",
            expected=f"some of {', '.join(CAMERAS)}",
            fix="rename the rig's cameras, or use a network without (model.camera=false)",
        )
    plans = tuple(
        None if c is None else plan_images(c.intrinsics, config.image_width, config.image_height) for c in cameras
    )
    lenses = [None if p is None else p.intrinsics for p in plans]
    table = lift_table(cameras, lenses, config, STRIDE)
    if config.lidar and config.camera:
        table = table._replace(paint=paint_table(cameras, lenses, config, PAINT_STRIDE))
    return RigPlan(config, cameras, plans, table)


def camera_input(plan: RigPlan, images: Mapping[str, NDArray[np.uint8]]) -> CameraInput:
    """The network's images of native BGR images by camera name; cameras may be missing."""
    config = plan.config
    out = np.zeros((len(CAMERAS), config.image_height, config.image_width, 3), np.uint8)
    present = np.zeros(len(CAMERAS), bool)
    for index, (name, how) in enumerate(zip(CAMERAS, plan.plans, strict=True)):
        if how is not None and name in images:
            out[index], present[index] = resize_image(images[name], how), True
    return CameraInput(out, present)


def lidar_input(sweeps: Sequence[LidarSweep]) -> NDArray[np.uint8]:
    """uint8 [F, Z, X, Y] in the ego frame of the newest sweep."""
    newest = max(sweeps, key=lambda s: s.stamp_us)
    return voxelize(sweeps, newest.world_from_ego, newest.stamp_us).encoded()


def depth_truth(plan: RigPlan, sweep: LidarSweep, world_from_ego: Mapping[str, Array]) -> NDArray[np.uint8]:
    """Bins of depth that the lidar tells of each feature cell, uint8 [N, h, w]; UNKNOWN_DEPTH where it tells nothing.

    The nearest return in a cell counts: what is behind it is seen past an edge.

    Args:
        world_from_ego: by camera, at the stamp of its image: [4, 4].
    """
    config = plan.config
    high, wide = config.image_height // STRIDE, config.image_width // STRIDE
    borders = depth_borders(config.depth_bins, config.nearest, config.farthest)
    world = apply(sweep.world_from_ego, clean_returns(sweep.points, sweep.ego_from_sensor).points)
    out = np.full((len(CAMERAS), high, wide), UNKNOWN_DEPTH, np.uint8)
    for index, (camera, how) in enumerate(zip(plan.cameras, plan.plans, strict=True)):
        if camera is None or how is None or camera.name not in world_from_ego:
            continue
        camera_from_world = camera.mount.sensor_from_ego @ inverse(world_from_ego[camera.name])
        local = apply(camera_from_world, world)
        seen = project(how.intrinsics, local)
        rows = np.flatnonzero(seen.inside & (local[:, 2] > borders[0]) & (local[:, 2] < borders[-1]))
        column, row = (np.floor((seen.pixels[rows] + 0.5) / STRIDE).astype(np.int64)).T
        bins = np.searchsorted(borders, local[rows, 2], side="right") - 1
        flat = np.full(high * wide, UNKNOWN_DEPTH, np.int64)
        np.minimum.at(flat, row * wide + column, bins)
        out[index] = flat.reshape(high, wide)
    return out
