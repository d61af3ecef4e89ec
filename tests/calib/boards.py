"""Photographs of a board: every pixel's rays through the lens meet the board's plane, then blur, uneven light, noise.

Nothing of calib's detection or calibration is used to draw; the rays are checked in test_camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from calib.board import Board, Corners
from calib.camera import unproject
from calib.rig import Intrinsics
from calib.transforms import se3

SUB = 2  # rays per pixel, each way
PER_SQUARE = 60  # px of the print


@dataclass
class Photographer:
    """One camera; its rays are computed once."""

    intrinsics: Intrinsics
    blur: float = 0.6  # px
    noise: float = 2.0  # levels
    rays: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        width, height = self.intrinsics.size
        # Every fourth pixel is solved; in between rays are smooth (1e-4 px).
        coarse = np.stack(np.meshgrid(np.arange(-4, width + 8, 4), np.arange(-4, height + 8, 4)), -1)
        solved = unproject(self.intrinsics, coarse.reshape(-1, 2).astype(float)).astype(np.float32)
        u = (np.arange(width * SUB) + 0.5) / SUB - 0.5
        v = (np.arange(height * SUB) + 0.5) / SUB - 0.5
        x, y = np.meshgrid((u + 4) / 4, (v + 4) / 4)
        table = solved.reshape(*coarse.shape[:2], 3)
        rays = cv2.remap(table, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        self.rays = rays / np.maximum(rays[..., 2:], np.float32(1e-3))

    def take(
        self,
        board: Board,
        camera_from_board: np.ndarray,
        rng: np.random.Generator,
        background: np.ndarray | None = None,
    ) -> np.ndarray:
        """BGR. background: BGR of the same size, grey where there is none."""
        print_ = board.picture(PER_SQUARE)
        # The plane of the board: a ray r meets it where board_from_camera (r s) has z = 0.
        r, t = camera_from_board[:3, :3], camera_from_board[:3, 3]
        per_metre = PER_SQUARE / board.square
        to_print = np.array([[per_metre, 0, -0.5], [0, per_metre, -0.5], [0, 0, 1]])
        homography = (to_print @ np.linalg.inv(np.column_stack([r[:, 0], r[:, 1], t]))).astype(np.float32)
        at = self.rays @ homography.T
        ahead = at[..., 2] > 1e-6
        x, y = (np.where(ahead, at[..., i] / np.where(ahead, at[..., 2], 1), -1e4).astype(np.float32) for i in (0, 1))
        margin = 0.25 * PER_SQUARE  # of white paper around the squares
        sampled = cv2.remap(print_, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=255)
        height, width = print_.shape
        on = (x > -margin) & (x < width + margin) & (y > -margin) & (y < height + margin)
        size = self.intrinsics.size
        cover = cv2.resize(on.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
        ink = cv2.resize((sampled * on).astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
        scene = np.full((size[1], size[0], 3), 90.0) if background is None else background.astype(np.float32)
        slope = 1 + 0.25 * np.linspace(-1, 1, size[0])[None, :, None] * rng.uniform(-1, 1)  # light from one side
        image = (25 * cover + 0.78 * ink) * slope + scene * (1 - cover)
        image = cv2.GaussianBlur(image, (0, 0), self.blur) + rng.normal(0, self.noise, image.shape)
        return np.clip(np.round(image), 0, 255).astype(np.uint8)


def board_pose(board: Board, centre: np.ndarray, tilt_deg: tuple[float, float, float]) -> np.ndarray:
    """camera_from_board: its middle at `centre` (m, camera frame), turned about the camera's x, y and z."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(tilt_deg)):
        rotation = rotation @ cv2.Rodrigues(np.eye(3)[axis] * angle)[0]
    middle = np.array([board.extent[0] / 2, board.extent[1] / 2, 0.0])
    return se3(centre - rotation @ middle, rotation)


def poses_that_cover(board: Board, intrinsics: Intrinsics, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Boards all over the image, near and far, tilted all ways; each whole in the image or nearly."""
    out = []
    columns = int(np.ceil(np.sqrt(count * 1.4)))
    rows = int(np.ceil(count / columns))
    for n in range(count):
        row, column = divmod(n, columns)
        where = np.array([(column + 0.5) / columns, (row + 0.5) / rows]) * 0.84 + 0.08
        ray = unproject(intrinsics, where[None] * np.array(intrinsics.size))[0]
        distance = board.extent[0] * intrinsics.focal[0] / intrinsics.size[0] / rng.uniform(0.32, 0.5)
        tilt = (*rng.uniform(-38, 38, 2), rng.uniform(-12, 12))
        # Tilts are about the ray: a board at the border of a wide image faces the camera as well.
        look = np.eye(4)
        look[:3, :3] = _towards(ray)
        out.append(look @ board_pose(board, np.array([0, 0, distance]), tilt))
    return out


def _towards(ray: np.ndarray) -> np.ndarray:
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = np.linalg.norm(axis)
    return np.eye(3) if sine < 1e-9 else cv2.Rodrigues(axis / sine * np.arctan2(sine, ray[2]))[0]


def _towards(ray: np.ndarray) -> np.ndarray:
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = np.linalg.norm(axis)
    return np.eye(3) if sine < 1e-9 else cv2.Rodrigues(axis / sine * np.arctan2(sine, ray[2]))[0]


def board_from_camera(camera_from_board: np.ndarray) -> np.ndarray:
    return inverse(camera_from_board)


def corners_of(ids: np.ndarray, pixels: np.ndarray) -> Corners:
    return Corners(ids, pixels)
