"""Cameras recovered from photographs of boards: drawn ray by ray, with blur, uneven light and noise."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from calib.board import Board, find_corners
from calib.errors import InputError
from calib.intrinsics import View, calibrate
from calib.rig import Intrinsics
from calib.rig_file import load_intrinsics
from genie.cli.main import app
from tests.calib import boards

CAMERA = Intrinsics("pinhole", (960, 600), (720.0, 724.0), (490.0, 292.0), (-0.28, 0.10, 0.0008, -0.0006, -0.015))
FISHEYE = Intrinsics("fisheye", (960, 720), (330.0, 331.0), (483.0, 355.0), (0.03, -0.012, 0.004, -0.001))
BOARD = Board("charuco", (11, 8), 0.06)


class Session(NamedTuple):
    """Images of BOARD in a folder, and where its corners truly are in each."""

    folder: Path
    truth: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder, rng = tmp_path_factory.mktemp("board"), np.random.default_rng(1)
    photographer, truth = boards.Photographer(CAMERA), {}
    for n, pose in enumerate(boards.poses_that_cover(BOARD, CAMERA, 15, rng)):
        name = f"{n:02d}.png"
        cv2.imwrite(str(folder / name), photographer.take(BOARD, pose, rng))
        turn = cv2.Rodrigues(pose[:3, :3])[0]
        truth[name] = cv2.projectPoints(BOARD.corners, turn, pose[:3, 3], CAMERA.matrix, CAMERA.coefficients)[0][:, 0]
    return Session(folder, truth)


@pytest.fixture(scope="module")
def views(session: Session) -> list[View]:
    found = [(p.name, find_corners(BOARD, cv2.imread(str(p)))) for p in sorted(session.folder.glob("*.png"))]
    return [View(name, corners) for name, corners in found if corners is not None]


def test_the_command_recovers_a_camera(session: Session, tmp_path: Path) -> None:
    out = tmp_path / "rig/intrinsics.yaml"
    arguments = [
        "calib",
        "camera",
        str(session.folder),
        "--squares",
        "11x8",
        "--square-size",
        "0.06",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = load_intrinsics(out)
    assert float(result.output.split("RMS ")[1].split()[0]) < 0.2
    np.testing.assert_allclose(found.focal, CAMERA.focal, rtol=1e-3)
    np.testing.assert_allclose(found.centre, CAMERA.centre, atol=1.0)
    picture = cv2.imread(str(out.with_suffix(".png")))
    assert picture is not None and picture.shape[1] > 1500


def test_corners_are_found_where_they_are(session: Session, views: list[View]) -> None:
    off = np.concatenate([v.corners.pixels - session.truth[v.name][v.corners.ids] for v in views])
    assert len(views) == 15
    assert np.sqrt((off**2).sum(1).mean()) < 0.15
    assert np.abs(off.mean(0)).max() < 0.02  # no systematic shift


def test_an_image_that_does_not_fit_is_dropped_by_name(views: list[View]) -> None:
    bent = views[5].corners
    centre = bent.pixels.mean(0)
    # As if the paper were curved: one direction stretched more and more.
    stretched = bent.pixels + 1e-4 * (bent.pixels - centre) ** 2
    curved = View("curved.png", bent._replace(pixels=stretched))
    fit = calibrate(BOARD, [*views[:5], curved, *views[6:]], CAMERA.size, "pinhole")
    assert list(fit.dropped) == ["curved.png"] and "curved.png" not in fit.errors
    np.testing.assert_allclose(fit.intrinsics.focal, CAMERA.focal, rtol=1e-3)


def test_poor_coverage_is_refused_by_name(views: list[View]) -> None:
    left = [
        View(v.name, v.corners._replace(ids=v.corners.ids[k], pixels=v.corners.pixels[k]))
        for v in views
        if (k := v.corners.pixels[:, 0] < 600).sum() >= 12
    ]
    with pytest.raises(InputError, match="none in the top right"):
        calibrate(BOARD, left, CAMERA.size, "pinhole")
    with pytest.raises(InputError, match="found in 3 images"):
        calibrate(BOARD, views[:3], CAMERA.size, "pinhole")


def test_boards_that_all_face_the_camera_are_refused() -> None:
    flat, rng = [], np.random.default_rng(0)
    for n, (x, y) in enumerate((x, y) for x in (-0.4, 0.0, 0.4) for y in (-0.22, 0.0, 0.22)):
        pose = boards.board_pose(BOARD, np.array([x, y, 0.9 + 0.05 * (n % 3)]), (*rng.uniform(-3, 3, 2), 0.0))
        turn = cv2.Rodrigues(pose[:3, :3])[0]
        pixels = cv2.projectPoints(BOARD.corners, turn, pose[:3, 3], CAMERA.matrix, CAMERA.coefficients)[0][:, 0]
        pixels = pixels + rng.normal(0, 0.05, pixels.shape)
        seen = ((pixels > 0) & (pixels < CAMERA.size)).all(1)
        flat.append(View(f"{n}", boards.corners_of(np.flatnonzero(seen), pixels[seen])))
    with pytest.raises(InputError, match="poor variety of tilt"):
        calibrate(BOARD, flat, CAMERA.size, "pinhole")


def test_a_fisheye_is_recovered() -> None:
    rng, photographer = np.random.default_rng(2), boards.Photographer(FISHEYE)
    images = [photographer.take(BOARD, p, rng) for p in boards.poses_that_cover(BOARD, FISHEYE, 12, rng)]
    views = [View(f"{n}", c) for n, image in enumerate(images) if (c := find_corners(BOARD, image)) is not None]
    fit = calibrate(BOARD, views, FISHEYE.size, "fisheye")
    assert fit.rms < 0.2
    np.testing.assert_allclose(fit.intrinsics.focal, FISHEYE.focal, rtol=1e-3)


def test_a_checkerboard_is_found_as_well() -> None:
    board, rng = Board("checkerboard", (9, 6), 0.08), np.random.default_rng(3)
    pose = boards.board_pose(board, np.array([0.02, 0.03, 1.0]), (20.0, -25.0, 5.0))
    corners = find_corners(board, boards.Photographer(CAMERA).take(board, pose, rng))
    assert corners is not None and len(corners.ids) == 40
    turn = cv2.Rodrigues(pose[:3, :3])[0]
    true = cv2.projectPoints(board.corners, turn, pose[:3, 3], CAMERA.matrix, CAMERA.coefficients)[0][:, 0]
    first_to_last = np.linalg.norm(corners.pixels - true, axis=1).max()
    last_to_first = np.linalg.norm(corners.pixels[::-1] - true, axis=1).max()
    assert min(first_to_last, last_to_first) < 0.3
