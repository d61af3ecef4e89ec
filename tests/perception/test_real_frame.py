"""The shipped weights on the one real frame: scene-0061, keyframe 0, by its own matrices. Never trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.rig import Rig
from calib.tables import Keyframe, Tables, read_image, read_sweep
from calib.transforms import Array, apply, inverse, se3_from_quaternion
from perception.checkpoint import load_network
from perception.lift import LiftIndex
from perception.model import Inputs
from perception.prepare import camera_input, lidar_input, plan_rig
from perception.preprocess import clean_returns, normalise
from perception.types import FREE, GRID
from perception.voxelize import LidarSweep

pytestmark = pytest.mark.mini
SCENE, POINTS, MARKED = "scene-0061", 20, 0.25


class RealFrame:
    """Sensors of the frame, its rig, and the annotated boxes in its ego frame."""

    def __init__(self, root: Path) -> None:
        data = Tables(root).scene(SCENE)
        self.frame: Keyframe = data.keyframes[0]
        own = json.loads((root / "samples/scene-0061-keyframe-0.json").read_text())
        self.world_from_ego = np.array(own["ego2global"])
        rig = data.rig.with_mount("LIDAR_TOP", np.array(own["lidar2ego"]))
        cameras = []
        for camera in rig.cameras:
            told = own["cameras"][camera.name]
            k = np.array(told["cam2img"])
            lens = replace(camera.intrinsics, focal=(k[0, 0], k[1, 1]), centre=(k[0, 2], k[1, 2]))
            mount = replace(camera.mount, ego_from_sensor=np.array(told["cam2ego"]))
            cameras.append(replace(camera, intrinsics=lens, mount=mount))
        self.rig: Rig = replace(rig, cameras=tuple(cameras))
        ego_from_lidar = np.array(own["lidar2ego"])
        self.sweep = LidarSweep(read_sweep(self.frame.lidar.path), 0, self.world_from_ego, ego_from_lidar)
        rows = json.loads((root / "v1.0-mini/sample_annotation.json").read_text())
        rows = [r for r in rows if r["sample_token"] == self.frame.token]
        self.ego_from_box: list[Array] = [
            inverse(self.world_from_ego) @ se3_from_quaternion(np.array(r["translation"]), np.array(r["rotation"]))
            for r in rows
        ]
        self.sizes = [np.array(r["size"])[[1, 0, 2]] for r in rows]  # length, width, height


@pytest.fixture(scope="module")
def real(mini_root: Path) -> RealFrame:
    return RealFrame(mini_root)


def marked_shares(real: RealFrame, occupied: np.ndarray) -> np.ndarray:
    """Of each annotated box with 20 returns or more that lies in the grid: the share of its voxels that is marked."""
    returns = clean_returns(real.sweep.points, real.sweep.ego_from_sensor).points
    centres, shares = GRID.centers(), []
    for ego_from_box, size in zip(real.ego_from_box, real.sizes, strict=True):
        inside = (np.abs(apply(inverse(ego_from_box), returns)) <= size / 2).all(1).sum()
        voxels = (np.abs(apply(inverse(ego_from_box), centres)) <= size / 2).all(-1)
        if inside >= POINTS and voxels.any():
            shares.append(occupied[voxels].mean())
    return np.array(shares)


@torch.no_grad()
def test_lidar_marks_the_annotated_boxes(real: RealFrame) -> None:
    network = load_network("perception").model
    lidar = torch.from_numpy(lidar_input([real.sweep]))[None]
    semantics = network(Inputs(lidar, None, None, None)).semantics()[0].numpy()
    shares = marked_shares(real, semantics != FREE)
    assert len(shares) >= 5
    assert (shares >= MARKED).mean() >= 0.8, np.round(shares, 2)
    assert (semantics != FREE).mean() < 0.2  # and not by marking everything


@torch.no_grad()
def test_cameras_run_at_their_native_size(real: RealFrame) -> None:
    """1600 x 900 in; what is ahead within the grid is seen: the lidar's hits are more often marked than the rest."""
    loaded = load_network("perception")
    plan = plan_rig(real.rig, loaded.config.model)
    images = {m.channel: read_image(m.path) for m in real.frame.cameras}
    assert len(images) == 6 and all(image.shape == (900, 1600, 3) for image in images.values())
    seen = camera_input(plan, images)
    assert seen.present.all()
    inputs = Inputs(
        None,
        torch.from_numpy(normalise(seen.images))[None],
        torch.from_numpy(seen.present.astype(np.float32))[None],
        LiftIndex.of(plan.table),
    )
    occupied = loaded.model(inputs).semantics()[0].numpy() != FREE
    returns = clean_returns(real.sweep.points, real.sweep.ego_from_sensor).points
    voxels = GRID.index_of(returns)
    hit = np.zeros(GRID.shape, bool)
    hit[tuple(voxels[((voxels >= 0) & (voxels < GRID.shape)).all(1)].T)] = True
    assert occupied[hit].mean() > 2 * occupied[~hit].mean()
