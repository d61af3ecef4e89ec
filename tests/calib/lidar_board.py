"""A board as the synthetic lidar sees it: its beams, noise and quantum are those of genie.data.synth.lidar; they meet
the board where it is nearer than the road and walls behind it."""

from __future__ import annotations

import numpy as np

from calib.board import Board
from calib.transforms import inverse
from genie.data.synth.lidar import QUANTUM, RANGE_SIGMA, beams

MARGIN_SQUARES = 0.25


def sweep_with_board(board: Board, lidar_from_board: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n, 5] float32: a road 1.84 m below the lidar, walls 14 m away, and the board."""
    rays = beams()
    d = rays.direction
    with np.errstate(divide="ignore"):
        road = np.where(d[:, 2] < -1e-3, -1.84 / d[:, 2], np.inf)
        wall = 14.0 / np.maximum(np.abs(d[:, :2]).max(1), 1e-6)
    distance = np.minimum(road, wall)
    board_from_lidar = inverse(lidar_from_board)
    origin, direction = board_from_lidar[:3, 3], d @ board_from_lidar[:3, :3].T
    along = -origin[2] / np.where(np.abs(direction[:, 2]) > 1e-9, direction[:, 2], 1e-9)
    at = origin + direction * along[:, None]
    margin = MARGIN_SQUARES * board.square
    on = (
        (at[:, :2] > -margin).all(1)
        & (at[:, :2] < np.array(board.extent) + margin).all(1)
        & (along > 0)
        & (along < distance)
    )
    distance = np.where(on, along, distance)
    measured = np.round((distance + rng.normal(0, RANGE_SIGMA, len(distance))) / QUANTUM) * QUANTUM
    points = d * measured[:, None]
    lost = rng.random(len(points)) < 0.004
    points[lost] = 0.0
    return np.column_stack([points, np.where(on, 60.0, 20.0), rays.ring]).astype(np.float32)


def lidar_frame(camera_from_lidar: np.ndarray, camera_from_board: np.ndarray) -> np.ndarray:
    """lidar_from_board."""
    return inverse(camera_from_lidar) @ camera_from_board
