"""Evidence over time: doubtful looks do not make voxels flicker, clear ones are believed at once."""

from __future__ import annotations

import numpy as np
import pytest

from calib.transforms import inverse, se3_from_xyz_yaw
from perception.steady import Expected, Look, SteadyOccupancy
from perception.types import CLASS_NAMES, FREE, GRID

CAR, ROAD, WALL = (CLASS_NAMES.index(n) for n in ("car", "driveable_surface", "manmade"))
STEP_US = 100_000


def world_at(world_from_ego: np.ndarray) -> np.ndarray:
    """Blocks of 4 x 6 m, 3 m high, every 16 m, on a road without end: as seen from a pose."""
    centres = GRID.centers()[:, :, 0, :2] @ world_from_ego[:2, :2].T + world_from_ego[:2, 3]
    place = centres % 16.0
    block = (place[..., 0] < 4.0) & (place[..., 1] < 6.0)
    scene = np.full(GRID.shape, FREE, np.uint8)
    scene[:, :, 2] = ROAD
    scene[:, :, 3:10] = np.where(block[..., None], np.uint8(WALL), np.uint8(FREE))
    return scene


def clearly(scene: np.ndarray) -> Look:
    return Look(np.where(scene != FREE, 0.98, 0.02).astype(np.float32), scene)


def drive(count: int) -> list[np.ndarray]:
    """At 8 m/s and 0.2 rad/s."""
    t = 0.1 * np.arange(count)
    return list(se3_from_xyz_yaw(np.stack([8.0 * t, 0.1 * t**2, 0 * t], 1), 0.2 * t))


def doubtful(scene: np.ndarray, rng: np.random.Generator, share: float) -> Look:
    """0.85 sure of what is right; of some voxels 0.6 sure of what is wrong."""
    occupied = scene != FREE
    wrong = rng.random(scene.shape) < share
    told = np.where(occupied, 0.85, 0.15)
    told = np.where(wrong, np.where(occupied, 0.4, 0.6), told)
    semantics = np.where(told > 0.5, np.where(occupied, scene, np.uint8(WALL)), np.uint8(FREE))
    return Look(told.astype(np.float32), semantics.astype(np.uint8))


def test_doubtful_looks_do_not_flicker() -> None:
    """Of what is told over time a tenth as many voxels are wrong as of a look, while the ego drives a turn."""
    rng, steady = np.random.default_rng(0), SteadyOccupancy()
    single, over_time = [], []
    for t, pose in enumerate(drive(8)):
        truth = world_at(pose)
        look = doubtful(truth, rng, 0.1)
        told = steady.update(look, pose, t * STEP_US).validate().semantics
        if t >= 3:
            single.append(((look.semantics != FREE) != (truth != FREE)).mean())
            over_time.append(((told != FREE) != (truth != FREE)).mean())
    assert np.mean(single) == pytest.approx(0.1, abs=0.01)
    assert np.mean(over_time) < 0.1 * np.mean(single), (np.mean(over_time), np.mean(single))


def test_what_appears_and_what_leaves_is_told_at_once() -> None:
    steady, pose = SteadyOccupancy(), np.eye(4)
    empty, there = world_at(pose), world_at(pose)
    there[110:120, 95:100, 3:6] = CAR
    sure = [clearly(s) for s in (empty, there)]
    for t, scene in enumerate((0, 0, 0, 1, 1, 0)):
        told = steady.update(sure[scene], pose, t * STEP_US)
        assert np.array_equal(told.semantics, (empty, there)[scene]), t


def test_a_hesitant_look_keeps_what_was_known_for_a_while_and_then_it_fades() -> None:
    steady, pose = SteadyOccupancy(), np.eye(4)
    scene = world_at(pose)
    clear = clearly(scene)
    nothing = Look(np.full(GRID.shape, 0.3, np.float32), np.full(GRID.shape, FREE, np.uint8))
    steady.update(clear, pose, 0)
    assert np.array_equal(steady.update(nothing, pose, STEP_US).semantics, scene)
    assert (steady.update(nothing, pose, 3_000_000).semantics == FREE).all()


def test_what_leaves_the_lattice_is_forgotten_and_what_enters_is_unknown() -> None:
    """Out by 200 m and back within a blink: nothing of before may be told, from either side."""
    hesitant = Look(np.full(GRID.shape, 0.45, np.float32), np.full(GRID.shape, FREE, np.uint8))
    scene = world_at(np.eye(4))
    for away in ((200.0, 0.0), (-200.0, 0.0), (0.0, 200.0), (0.0, -200.0)):
        steady = SteadyOccupancy()
        steady.update(clearly(scene), np.eye(4), 0)
        far = se3_from_xyz_yaw(np.array([[*away, 0.0]]), np.zeros(1))[0]
        assert (steady.update(hesitant, far, 1000).semantics == FREE).all()
        assert (steady.update(hesitant, np.eye(4), 2000).semantics == FREE).all()
        near = se3_from_xyz_yaw(np.array([[0.2, 0.0, 0.0]]), np.zeros(1))[0]
        assert (steady.update(clearly(scene), near, 3000).semantics != FREE).any()


def test_a_forecast_tells_where_the_look_hesitates_and_a_clear_look_overrules_it() -> None:
    pose = np.eye(4)
    ahead = se3_from_xyz_yaw(np.array([[0.8, 0.0, 0.0]]), np.zeros(1))[0]  # two voxels on: it was told for there
    scene = world_at(ahead)
    named = world_at(pose)
    hesitant = Look(np.full(GRID.shape, 0.45, np.float32), named)
    forecast = Expected(scene, ahead, 0.9)
    told = SteadyOccupancy().update(hesitant, pose, 0, forecast).semantics
    seen = np.s_[2:]  # the columns that the forecast's frame reaches
    assert np.array_equal(told[seen], named[seen]) and (told[:2] == FREE).all()
    clear = Look(np.full(GRID.shape, 0.02, np.float32), np.full(GRID.shape, FREE, np.uint8))
    assert (SteadyOccupancy().update(clear, pose, 0, forecast).semantics == FREE).all()


def test_a_class_is_told_by_a_majority_of_looks() -> None:
    """One look that names the same voxels otherwise changes nothing; looks that go on doing so are believed."""
    steady, pose = SteadyOccupancy(), np.eye(4)
    scene = world_at(pose)
    other = np.where(scene == FREE, scene, np.uint8(CAR))
    names = [scene, scene, scene, other, scene, other, *[other] * 12]
    told = [steady.update(clearly(look), pose, t * STEP_US).semantics for t, look in enumerate(names)]
    for semantics in told[:6]:
        np.testing.assert_array_equal(semantics, scene)
    np.testing.assert_array_equal(told[-1], other)


def test_stamps_go_on_and_a_reset_forgets() -> None:
    steady, pose = SteadyOccupancy(), np.eye(4)
    scene = world_at(pose)
    steady.update(clearly(scene), pose, 10)
    nothing = Look(np.full(GRID.shape, 0.4, np.float32), np.full(GRID.shape, FREE, np.uint8))
    with pytest.raises(ValueError, match="after 10 us"):
        steady.update(nothing, pose, 10)
    steady.reset()
    assert (steady.update(nothing, inverse(pose), 5).semantics == FREE).all()
