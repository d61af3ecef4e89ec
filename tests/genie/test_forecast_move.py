"""The gather per horizon against its plain twin, and what it must never do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from calib.transforms import se3_from_xyz_yaw
from genie.decoder import Invented
from genie.forecast import INVENTED, MOVED, OBSERVED, KeptColumns, SeenRows, move
from genie.model_forecaster import tick_tensors
from genie.observation import CENTER, ObservedScene, observe, start_observer
from genie.plain_move import plain_move
from genie.rows import as_voxels
from perception.types import DRIVEABLE, FREE, HORIZONS_S, Occupancy, SensorFrame

CAR, MANMADE = 4, 15


def street(cars: list[tuple[int, int]]) -> np.ndarray:
    """A road along x with a wall beside it and cars of 12 x 5 cells whose corner cells are given."""
    semantics = np.full((200, 200, 16), FREE, np.uint8)
    semantics[:, 85:115, 2] = DRIVEABLE
    semantics[:, 130:133, 2:10] = MANMADE
    for i, j in cars:
        semantics[i : i + 12, j : j + 5, 2:6] = CAR
    return semantics


def observed(cars: list[tuple[int, int]]) -> ObservedScene:
    frame = SensorFrame(0, np.eye(4), Occupancy(street(cars)))
    return observe(frame, start_observer())[0]


def driven_past(frames: int = 6) -> ObservedScene:
    """The same street from an ego that drives askew: its walls were sampled at other places in each frame."""
    rows = (np.arange(200) + 0.5) * 0.4 - 40.0
    x, y = np.meshgrid(rows, rows, indexing="ij")
    state = start_observer()
    for n in range(frames):
        ego = se3_from_xyz_yaw(np.array([0.53 * n, 0.07 * n, 0.0]), 0.1 + 0.02 * n)
        world_y = ego[1, 0] * x + ego[1, 1] * y + ego[1, 3]
        world_x = ego[0, 0] * x + ego[0, 1] * y + ego[0, 3]
        semantics = np.full((200, 200, 16), FREE, np.uint8)
        semantics[np.abs(world_y) < 6, 2] = DRIVEABLE
        semantics[np.abs(world_y - 12) < 0.3, 2:10] = MANMADE
        semantics[(np.abs(world_x + 8) < 2.4) & (np.abs(world_y - 1) < 1.0), 2:6] = CAR  # largest: object 1
        semantics[(np.abs(world_x - 12) < 2.2) & (np.abs(world_y + 3) < 0.9), 2:6] = CAR
        semantics[(np.abs(world_x + 25) < 2.0) & (np.abs(world_y + 3) < 0.9), 2:6] = CAR
        scene, state = observe(SensorFrame(1 + 100_000 * n, ego, Occupancy(semantics)), state)
    return scene


def no_invention() -> Invented:
    """One column decoded, in a corner where no future looks."""
    return Invented(torch.tensor([0]), torch.full((16, 16), FREE, dtype=torch.int32))


class Shown(NamedTuple):
    semantics: torch.Tensor
    origin: torch.Tensor


def torch_move(scene: ObservedScene, displacement: np.ndarray, trajectory: np.ndarray) -> Shown:
    seen, _ = tick_tensors(scene)
    moved = move(
        SeenRows(
            seen.rows.reshape(-1, 4),
            seen.object_id.reshape(-1),
            seen.object_cells,
            seen.bare,
            seen.movers,
            seen.border_ground,
        ),
        seen.objects[:, CENTER],
        torch.from_numpy(displacement.astype(np.float32)),
        torch.from_numpy(trajectory.astype(np.float32)),
        no_invention(),
        KeptColumns(seen.evidence_block, seen.evidence_row, seen.evidence, seen.fine_from_ego),
    )
    return Shown(torch.from_numpy(as_voxels(moved.rows.numpy())), moved.origin())


def drive(speed: float, yaw_rate: float) -> np.ndarray:
    seconds = np.asarray(HORIZONS_S)
    return np.stack([speed * seconds, 0.3 * yaw_rate * speed * seconds**2, yaw_rate * seconds], -1)


@pytest.mark.parametrize(("speed", "yaw_rate"), [(0.0, 0.0), (3.1, 0.0), (11.3, 0.13), (-2.0, -0.2)])
@pytest.mark.parametrize("moving", [False, True])
def test_agrees_with_the_plain_twin(speed: float, yaw_rate: float, moving: bool) -> None:
    scene = driven_past() if moving else observed([(60, 90), (100, 100), (30, 105)])
    assert (scene.evidence_row > 40000).any() == moving
    rng = np.random.default_rng(1)
    displacement = np.zeros((6, 128, 3))
    displacement[:, :3] = rng.normal(0, 1, (3, 3)) * [2.0, 0.7, 0.15] * np.asarray(HORIZONS_S)[:, None, None]
    fast = torch_move(scene, displacement, drive(speed, yaw_rate)).semantics.numpy()
    plain = plain_move(scene, displacement, drive(speed, yaw_rate))
    # A point within float32 of a cell border may fall to either side.
    assert (fast != plain).mean() < 2e-4
    assert (fast == CAR).sum() > 0.9 * (plain == CAR).sum()


def test_nothing_moves_when_nobody_drives() -> None:
    scene = observed([(60, 90)])
    moved = torch_move(scene, np.zeros((6, 128, 3)), np.zeros((6, 3)))
    assert (moved.semantics.numpy() == scene.semantics).all()
    assert (moved.origin == OBSERVED).all()


def test_a_rotating_car_has_no_holes_and_leaves_road_behind() -> None:
    scene = observed([(60, 98)])
    displacement = np.zeros((6, 128, 3))
    displacement[:, 0, 0] = 8.0
    displacement[:, 0, 2] = np.linspace(0.2, 1.2, 6)
    moved = torch_move(scene, displacement, np.zeros((6, 3)))
    cells = (moved.semantics.numpy() == CAR).any(-1)
    assert (np.abs(cells.sum((1, 2)) - 60) <= 8).all()
    for h in range(6):
        i, j = np.nonzero(cells[h])
        hull = cells[h, i.min() : i.max() + 1, j.min() : j.max() + 1]
        filled = hull[1:-1, 1:-1]
        surrounded = hull[:-2, 1:-1] & hull[2:, 1:-1] & hull[1:-1, :-2] & hull[1:-1, 2:]
        assert not (surrounded & ~filled).any()
        assert (moved.semantics[h, 60:66, 98:103, 2].numpy() == DRIVEABLE).all()
    assert (moved.origin[:, cells[0]] == MOVED).any()


def test_ground_continues_beyond_the_grid_and_walls_do_not() -> None:
    scene = observed([])
    moved = torch_move(scene, np.zeros((6, 128, 3)), drive(10.0, 0.0))
    last = moved.semantics[-1].numpy()
    new = moved.origin[-1].numpy() == INVENTED
    assert new[-70:].all() and not new[:120].any()
    assert (last[-60:, 90:110, 2] == DRIVEABLE).all()
    assert (last[-60:, 130:133] == FREE).all()


def test_pose_of_the_trajectory_is_ego_from_future() -> None:
    """A wall cell ahead comes nearer when the ego drives towards it; the wrong direction would move it away."""
    semantics = np.full((200, 200, 16), FREE, np.uint8)
    semantics[150, 100, 3] = MANMADE
    scene = observe(SensorFrame(0, np.eye(4), Occupancy(semantics)), start_observer())[0]
    moved = torch_move(scene, np.zeros((6, 128, 3)), drive(4.0, 0.0)).semantics.numpy()
    assert moved[1, 140, 100, 3] == MANMADE  # one second at 4 m/s: ten cells
    assert not (moved[1, 150:, 100, 3] == MANMADE).any()
