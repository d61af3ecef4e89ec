"""A camera's place against the lidar, from boards that both see: drawn ray by ray, beams of the town's lidar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from calib.agreement import perturbed
from calib.board import Board, find_corners
from calib.errors import InputError
from calib.rig import Rig
from calib.rig_file import load_rig, save_rig
from calib.target import Pair, calibrate_target
from calib.transforms import inverse
from genie.cli.main import app
from tests.calib import boards
from tests.calib.lidar_board import lidar_frame, sweep_with_board

BOARD = Board("charuco", (7, 5), 0.16)
SIZE = (800, 450)
GUESS = np.array([0.03, -0.025, 0.03, 0.06, -0.05, 0.06])  # rad, m: as measured with a tape


class Yard(NamedTuple):
    """camera_from_lidar as it is, pairs of corners and sweeps, and the images."""

    truth: np.ndarray
    pairs: list[Pair]
    images: list[np.ndarray]


@pytest.fixture(scope="module")
def yard(rig: Rig) -> Yard:
    camera = rig.camera("CAM_FRONT")
    truth = camera.mount.sensor_from_ego @ rig.lidar("LIDAR_TOP").mount.ego_from_sensor
    photographer, rng, pairs = boards.Photographer(camera.intrinsics.scaled(SIZE)), np.random.default_rng(0), []
    images = []
    for k in range(12):
        where = np.array([(k % 4 - 1.5) / 1.5 * 0.38, (k // 4 - 1) * 0.13, 1.0]) * rng.uniform(3.2, 5.0)
        tilt = (rng.uniform(-35, 35), rng.uniform(-35, 35), rng.uniform(25, 45) * rng.choice([-1, 1]))
        pose = boards.board_pose(BOARD, where, tilt)
        images.append(photographer.take(BOARD, pose, rng))
        corners = find_corners(BOARD, images[-1])
        assert corners is not None
        pairs.append(Pair(f"{k:02d}", corners, sweep_with_board(BOARD, lidar_frame(truth, pose), rng)))
    return Yard(truth, pairs, images)


def test_extrinsics_within_a_tenth_of_a_degree_and_a_centimetre(rig: Rig, yard: Yard) -> None:
    intrinsics = rig.camera("CAM_FRONT").intrinsics.scaled(SIZE)
    fit = calibrate_target(BOARD, yard.pairs, intrinsics, perturbed(GUESS) @ yard.truth)
    error = fit.refined.pose @ inverse(yard.truth)
    turned = np.asarray(cv2.Rodrigues(error[:3, :3])[0]).ravel()
    assert np.degrees(np.abs(turned)).max() < 0.1 and np.abs(error[:3, 3]).max() < 0.01
    assert len(fit.used) == 12 and not fit.left_out
    # The covariance tells how wrong it is: neither boasting nor useless.
    off = np.concatenate([turned, error[:3, 3]])
    assert off @ np.linalg.solve(fit.refined.covariance, off) < 22.5  # 0.1 % of chi-squared of six
    assert fit.refined.sigma_deg.max() < 0.1 and fit.refined.sigma_m.max() < 0.01


def test_a_pair_whose_sweep_is_of_another_moment_is_left_out(rig: Rig, yard: Yard) -> None:
    intrinsics = rig.camera("CAM_FRONT").intrinsics.scaled(SIZE)
    empty = yard.pairs[3]._replace(sweep=yard.pairs[8].sweep)
    pairs = [*yard.pairs[:3], empty, *yard.pairs[4:]]
    fit = calibrate_target(BOARD, pairs, intrinsics, perturbed(GUESS / 3) @ yard.truth)
    assert "lidar points" in fit.left_out["03"]
    assert np.abs((fit.refined.pose @ inverse(yard.truth))[:3, 3]).max() < 0.01


def test_too_few_boards_are_refused_with_reasons(rig: Rig, yard: Yard) -> None:
    intrinsics = rig.camera("CAM_FRONT").intrinsics.scaled(SIZE)
    with pytest.raises(InputError, match="3 boards seen by both"):
        calibrate_target(BOARD, yard.pairs[:3], intrinsics, yard.truth)
    elsewhere = perturbed(np.array([0, np.pi / 2, 0, 0, 0, 0])) @ yard.truth
    with pytest.raises(InputError, match="0 boards seen by both"):
        calibrate_target(BOARD, yard.pairs, intrinsics, elsewhere)


def test_the_command_writes_the_rig_that_is(rig: Rig, yard: Yard, tmp_path: Path) -> None:
    """From files: a rig whose camera was turned and shifted, images and sweeps of equal names."""
    front = rig.camera("CAM_FRONT")
    small = replace(front, intrinsics=front.intrinsics.scaled(SIZE))
    known = replace(rig, cameras=(small,))
    guess = front.mount.ego_from_sensor @ inverse(perturbed(GUESS))
    save_rig(tmp_path / "guess.yaml", known.with_mount("CAM_FRONT", guess))
    for folder in ("images", "sweeps"):
        (tmp_path / folder).mkdir()
    for pair, image in zip(yard.pairs[:6], yard.images[:6], strict=True):
        cv2.imwrite(str(tmp_path / "images" / f"{pair.name}.png"), image)
        pair.sweep.tofile(tmp_path / "sweeps" / f"{pair.name}.bin")
    arguments = ["--rig", "guess.yaml", "--camera", "CAM_FRONT", "--images", "images", "--sweeps", "sweeps"]
    arguments = [str(tmp_path / a) if (tmp_path / a).exists() else a for a in arguments]
    out = tmp_path / "found.yaml"
    result = CliRunner().invoke(app, ["calib", "lidar-camera", *arguments, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0 and "6 boards" in result.output, result.output
    found = load_rig(out).camera("CAM_FRONT").mount.ego_from_sensor
    error = inverse(found) @ front.mount.ego_from_sensor
    assert np.degrees(np.linalg.norm(cv2.Rodrigues(error[:3, :3])[0])) < 0.15  # six boards, not twelve
    assert np.linalg.norm(error[:3, 3]) < 0.015
