"""Static evidence kept over the past: nearer samples, no stale content, no trails."""

from __future__ import annotations

import numpy as np
import pytest

from calib.transforms import inverse, planar, se3_from_xyz_yaw
from genie.evidence import (
    BLOCK_SIDE,
    CELLS,
    FADE_MPS,
    FINE_M,
    MAX_BLOCKS,
    MAX_KEPT,
    NO_EVIDENCE,
    NOTHING_KEPT,
    PER_BLOCK,
    Evidence,
    FusedEvidence,
    fuse,
    start_evidence,
)
from genie.observation import ObservedScene, observe, start_observer
from genie.plain_move import plain_move
from perception.types import DRIVEABLE, FREE, GRID, HORIZONS_S, Occupancy, SensorFrame

CAR, MANMADE = 4, 15
DT = 0.1
Poses = list[np.ndarray]


def centers(ego: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World coordinates of the cell centres of an ego frame, [200, 200] each."""
    axis = GRID.origin[0] + (np.arange(200) + 0.5) * GRID.voxel_size
    x, y = np.meshgrid(axis, axis, indexing="ij")
    return ego[0, 0] * x + ego[0, 1] * y + ego[0, 3], ego[1, 0] * x + ego[1, 1] * y + ego[1, 3]


def see(ego: np.ndarray, car_x: float | None = None) -> np.ndarray:
    """The world at the voxel centres: thin walls that no grid is aligned with, a road, a car."""
    x, y = centers(ego)
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[np.abs(y) < 6.13, 2] = DRIVEABLE
    wall = (np.abs(y - 0.11 * x - 11.3) < 0.17) | (np.abs(y + 0.07 * x + 14.6) < 0.21) | (np.abs(x - 31.7) < 0.19)
    semantics[wall & (np.abs(y) > 7.0), 2:9] = MANMADE
    if car_x is not None:
        semantics[(np.abs(x - car_x) < 2.2) & (np.abs(y + 2.0) < 0.9), 2:6] = CAR
    return semantics


def drive(frames: int, speed: float, yaw_rate: float = 0.0) -> Poses:
    t = DT * np.arange(frames)
    yaw = 0.2 + yaw_rate * t
    heading = np.stack([np.cos(yaw), np.sin(yaw), np.zeros(frames)], -1)
    return list(se3_from_xyz_yaw(np.cumsum(heading * speed * DT, axis=0), yaw))


def fuse_all(poses: Poses, cars: list[float | None] | None = None) -> tuple[FusedEvidence, Evidence]:
    evidence = start_evidence()
    for n, ego in enumerate(poses):
        fused, evidence = fuse(evidence, see(ego, cars[n] if cars else None), ego, DT if n else 0.0)
    return fused, evidence


def observe_all(poses: Poses, cars: list[float | None]) -> ObservedScene:
    state = start_observer()
    for n, (ego, car) in enumerate(zip(poses, cars, strict=True)):
        scene, state = observe(SensorFrame(int(n * DT * 1e6) + 1, ego, Occupancy(see(ego, car))), state)
    return scene


def canvas_cells(evidence: Evidence, of: np.ndarray) -> np.ndarray:
    """World index (i, j) of each canvas cell where `of` [n, 16] is true, and its place in the arrays: [m, 4]."""
    block = np.argsort(evidence.block, axis=None)[-len(of) :] if len(of) else np.zeros(0, int)
    row, within = np.nonzero(of)
    i, j = np.divmod(block[row], BLOCK_SIDE)
    world = PER_BLOCK * (np.stack([i, j], -1) + evidence.corner) + np.stack(np.divmod(within, PER_BLOCK), -1)
    return np.concatenate([world, np.stack([row, within], -1)], -1)


def cell_at(xy: np.ndarray, ego: np.ndarray) -> np.ndarray:
    """Grid coordinates of a point of the world, in cells."""
    return ((inverse(ego) @ np.array([*xy, 0.0, 1.0]))[:2] - GRID.origin[0]) / GRID.voxel_size


def is_uneven(semantics: np.ndarray, at: np.ndarray) -> bool:
    """Whether one of the nine cells around has a neighbour unlike itself."""
    if (at < 0).any() or (at >= 200).any():
        return False
    for cell in (at.astype(int) + np.array([a, b]) for a in (-1, 0, 1) for b in (-1, 0, 1)):
        for other in (cell + np.array(step) for step in ([1, 0], [-1, 0], [0, 1], [0, -1])):
            both = np.stack([cell, other])
            if (both >= 0).all() and (both < 200).all():
                one, two = semantics[both[:, 0], both[:, 1]]
                if (one != two).any():
                    return True
    return False


def plain_cell(cell: np.ndarray, poses: Poses) -> tuple[np.ndarray, float]:
    """One canvas cell by hand, frame after frame: the column kept for it, and how far away it was observed."""
    point, block = (cell + 0.5) * FINE_M, (cell // PER_BLOCK + 0.5) * PER_BLOCK * FINE_M
    kept, distance = None, np.inf
    for n, ego in enumerate(poses):
        x, y = cell_at(point, ego)
        distance += FADE_MPS * DT if n else 0.0
        semantics = see(ego)
        if not is_uneven(semantics, cell_at(block, ego)):
            kept, distance = None, np.inf
            continue
        if not (0 <= x < 200 and 0 <= y < 200):
            continue
        i, j = int(x), int(y)
        here = GRID.voxel_size * float(np.hypot(x - i - 0.5, y - j - 0.5))
        if kept is not None and distance < here:
            side_i = np.clip(i + (1 if x - i > 0.5 else -1), 0, 199)
            side_j = np.clip(j + (1 if y - j > 0.5 else -1), 0, 199)
            around = np.stack([semantics[a, b] for a in (i, side_i) for b in (j, side_j)])
            if not (around == kept).any(axis=0).all():
                distance = np.inf
        if here <= distance:
            kept, distance = semantics[i, j], here
    assert kept is not None
    return kept, distance


def test_it_agrees_with_the_plain_twin() -> None:
    poses = drive(7, 6.0, 0.3)
    _, evidence = fuse_all(poses)
    rng = np.random.default_rng(0)
    inside = canvas_cells(evidence, np.isfinite(evidence.distance))
    walls = canvas_cells(evidence, np.isfinite(evidence.distance) & (evidence.columns == MANMADE).any(-1))
    chosen = np.concatenate([rng.choice(part, 60, replace=False) for part in (inside, walls)])
    wrong = 0
    for i, j, row, within in chosen:
        column, distance = plain_cell(np.array([i, j]), poses)
        same = (evidence.columns[row, within] == column).all()
        wrong += not (same and abs(evidence.distance[row, within] - distance) < 1e-3)
    assert wrong <= 1  # a centre within float32 of a cell's border may fall to either side


def test_the_past_sharpens_what_one_frame_aliases() -> None:
    poses = drive(17, 7.0)
    scene = observe_all(poses, [None] * len(poses))
    future = drive(27, 7.0)[-1]
    trajectory = np.tile(planar(inverse(poses[-1]) @ future), (len(HORIZONS_S), 1))
    still = np.zeros((len(HORIZONS_S), len(scene.objects), 3))
    truth = see(future) == MANMADE
    seen = np.zeros(truth.shape, bool)
    seen[:150] = True  # not what comes into sight at the far end

    def iou(forecast: np.ndarray) -> float:
        shown = (forecast == MANMADE) & seen
        return float((shown & truth & seen).sum() / (shown | (truth & seen)).sum())

    alone = iou(plain_move(scene, still, trajectory, fused=False)[0])
    fused = iou(plain_move(scene, still, trajectory, fused=True)[0])
    assert fused > alone + 0.1, (alone, fused)


def test_a_standing_ego_keeps_nothing_that_it_does_not_see() -> None:
    fused, _ = fuse_all([drive(1, 0.0)[0]] * 4)
    assert (fused.row <= CELLS).all()


def test_what_vanishes_is_dropped_at_once() -> None:
    poses = drive(6, 5.0)
    _, evidence = fuse_all(poses, [9.0] * 5 + [None])
    assert not (evidence.columns == CAR).any()
    _, with_car = fuse_all(poses, [9.0] * 6)
    assert (with_car.columns == CAR).any()


def test_a_moving_car_leaves_no_trail() -> None:
    poses = drive(12, 4.0)
    cars: list[float | None] = [2.0 + 0.9 * n for n in range(12)]
    scene = observe_all(poses, cars)
    car = scene.object_id.max()
    assert car == 1
    displacement = np.zeros((len(HORIZONS_S), len(scene.objects), 3))
    displacement[:, 0, 0] = 12.0  # well ahead of where it is now
    shown = plain_move(scene, displacement, np.zeros((len(HORIZONS_S), 3)), fused=True) == CAR
    ahead = np.zeros_like(shown)
    where = np.argwhere(scene.object_id == 1)[:, 0]
    ahead[:, where.min() + 20 :] = True
    assert shown.any() and not (shown & ~ahead).any()


def test_a_jump_forgets_and_a_frame_changes_no_older_state() -> None:
    poses = drive(3, 5.0)
    _, before = fuse_all(poses[:2])
    copy = before.columns.copy(), before.distance.copy()
    far = se3_from_xyz_yaw(np.array([500.0, 66.0, 0.0]), 1.0)
    fused, after = fuse(before, see(far), far, DT)
    assert (fused.row == NOTHING_KEPT).all()
    assert 0 < np.isfinite(after.distance).sum() <= 16 * len(after.distance)
    np.testing.assert_array_equal(after.distance, fuse(start_evidence(), see(far), far, DT)[1].distance)
    np.testing.assert_array_equal(before.columns, copy[0])
    np.testing.assert_array_equal(before.distance, copy[1])


def test_more_than_fits_falls_back_to_the_present() -> None:
    """Random classes in every voxel of a two-class world: nearly every kept column differs, and few contradict."""
    rng = np.random.default_rng(0)
    evidence = start_evidence()
    for n, ego in enumerate(drive(3, 3.0, 0.1)):
        semantics = np.full(GRID.shape, FREE, np.uint8)
        semantics[:, :, 2] = np.where(rng.random((200, 200)) < 0.5, DRIVEABLE, FREE)
        fused, evidence = fuse(evidence, semantics, ego, DT if n else 0.0)
    kept = fused.row[fused.row > CELLS]
    assert len(kept) == MAX_KEPT
    assert sorted(kept) == list(range(1 + CELLS, 1 + CELLS + MAX_KEPT))
    assert len(evidence.distance) == MAX_BLOCKS
    i, j = np.nonzero(evidence.block)
    far = np.hypot(*((i + 0.5, j + 0.5) - np.array(evidence.block.shape)[:, None] / 2))
    assert far.max() < 1.05 * np.sqrt(MAX_BLOCKS / np.pi), "they are not those nearest to the ego"


def test_no_evidence_is_shared_and_cannot_be_written() -> None:
    scene, _ = observe(SensorFrame(0, np.eye(4), Occupancy(see(np.eye(4)))), start_observer(keep_evidence=False))
    assert scene.evidence_row is NO_EVIDENCE.row and scene.evidence_block is NO_EVIDENCE.block
    for array in (scene.evidence_row, scene.evidence_block):
        with pytest.raises(ValueError):
            array[:1] = 1
