"""Sensors as they come to occupancy: what a frame is made of, when it is made, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from calib.transforms import se3_from_xyz_yaw
from deploy.expected import Foreseen
from deploy.live_perception import LivePerception, Perceived
from deploy.perceive import Perception
from deploy.perception_findings import PerceptionState, findings
from deploy.stamps import DataClock, Verdict
from perception.steady import Expected, Look, SteadyConfig, SteadyOccupancy
from perception.types import FREE, GRID
from perception.voxelize import LidarSweep
from tests.small_perception import BOTH, export_small

START_US = 1_000_000
FRONT, LEFT = "CAM_FRONT", "CAM_FRONT_LEFT"


def pose_at(stamp_us: int) -> NDArray[np.float64]:
    """An ego at 5 m/s."""
    return se3_from_xyz_yaw(np.array([[5e-6 * (stamp_us - START_US), 0.0, 0.0]]), np.zeros(1))[0]


def revolution(seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return np.concatenate(
        [random.uniform(-30, 30, (4000, 2)), random.uniform(-2, 1, (4000, 1)), np.full((4000, 1), 80.0)], axis=1
    ).astype(np.float32)


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (900, 1600, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def perception(tmp_path_factory: pytest.TempPathFactory, nuscenes_rig: Rig) -> Perception:
    return Perception(export_small(tmp_path_factory.mktemp("both"), BOTH), nuscenes_rig, threads=1)


@pytest.fixture
def live(perception: Perception, nuscenes_rig: Rig) -> Iterator[LivePerception]:
    made = LivePerception(perception, nuscenes_rig, "LIDAR_TOP", DataClock(lambda: 0.0))
    yield made
    made.close()


def drive(live: LivePerception, stamp_us: int) -> Verdict:
    return live.offer_odometry(stamp_us, pose_at(stamp_us))


def answer(live: LivePerception, seconds: float = 20.0) -> Perceived:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = live.take()
        if found is not None:
            return found
        time.sleep(0.005)
    pytest.fail("nothing was perceived")


def test_a_frame_is_the_sweeps_and_the_newest_images_and_equals_them_by_hand(
    live: LivePerception, perception: Perception, nuscenes_rig: Rig
) -> None:
    mount, steady = nuscenes_rig.lidar("LIDAR_TOP").mount.ego_from_sensor, SteadyOccupancy()
    sweeps: list[LidarSweep] = []
    drive(live, START_US)
    for t in (1, 2, 3):
        stamp_us = START_US + 50_000 * t
        for old in (20_000, 0):  # of two images since the last frame the newer counts
            live.offer_image(FRONT, stamp_us - 5_000 - old, lambda seed=10 * t + old: picture(seed))  # type: ignore[misc]
        live.offer_sweep(stamp_us, revolution(t))
        assert live.take() is None  # no odometry covers it yet
        drive(live, stamp_us)
        found = answer(live)
        sweeps.append(LidarSweep(revolution(t), stamp_us, pose_at(stamp_us), mount))
        seen = perception.perceive(sweeps[-2:], {FRONT: picture(10 * t)})
        expected = steady.update(Look(seen.occupied, seen.occupancy.semantics), pose_at(stamp_us), stamp_us)
        assert found.occupancy is not None
        np.testing.assert_array_equal(found.occupancy.semantics, expected.semantics)
        assert (found.stamp_us, found.cameras, found.lidar, found.refused) == (stamp_us, (FRONT,), True, ())
        assert list(found.stage_ms) == ["decode", "prepare", "perceive", "steady"]


def test_what_was_foreseen_for_now_is_what_a_doubtful_look_is_weighed_with(
    perception: Perception, nuscenes_rig: Rig
) -> None:
    """The step that is due now, told last, in the frame that the forecast had; none that is due at another time, or
    whose stamp no odometry covers."""
    trusting = SteadyConfig(expected=4.0)  # an untrained network has no doubts of its own
    live = LivePerception(perception, nuscenes_rig, "LIDAR_TOP", DataClock(lambda: 0.0), steady=trusting)
    mount = nuscenes_rig.lidar("LIDAR_TOP").mount.ego_from_sensor
    plain, helped = SteadyOccupancy(), SteadyOccupancy(trusting)
    told_us, now_us = START_US, START_US + 500_000
    wall, empty = (np.full(GRID.shape, kind, np.uint8) for kind in (15, FREE))
    due_from_told = se3_from_xyz_yaw(np.array([[2.5, 0.4, 0.0]]), np.array([0.1]))[0]
    for stamp_us in range(START_US, now_us, 50_000):
        drive(live, stamp_us)
    for told, due, voxels in (
        (told_us - 10_000, now_us, wall), (told_us, now_us, empty), (told_us + 90_000, now_us + 90_000, wall),
        (now_us + 5_000, now_us, wall),
    ):  # fmt: skip
        live.offer_foreseen(Foreseen(told, due, due_from_told, voxels, 0.99))
    live.offer_sweep(now_us, revolution(0))
    drive(live, now_us)
    found = answer(live)
    seen = perception.perceive([LidarSweep(revolution(0), now_us, pose_at(now_us), mount)], {})
    look = Look(seen.occupied, seen.occupancy.semantics)
    expected = helped.update(look, pose_at(now_us), now_us, Expected(empty, pose_at(told_us) @ due_from_told, 0.99))
    assert found.occupancy is not None and found.foreseen
    np.testing.assert_array_equal(found.occupancy.semantics, expected.semantics)
    assert (plain.update(look, pose_at(now_us), now_us).semantics != expected.semantics).any()
    drive(live, now_us + 200_000)
    live.offer_sweep(now_us + 200_000, revolution(1))
    assert not answer(live).foreseen
    live.close()


def test_an_old_image_is_left_out_and_so_is_one_that_is_none(live: LivePerception) -> None:
    def broken() -> NDArray[np.uint8]:
        raise InputError("no image", expected="one", fix="none")

    drive(live, START_US)
    live.offer_sweep(START_US + 5_000, revolution(0))
    live.offer_image(FRONT, START_US + 10_000, lambda: picture(0))
    drive(live, START_US + 50_000)
    assert answer(live).cameras == (FRONT,)
    live.offer_image(LEFT, START_US + 400_000, broken)
    live.offer_image("CAM_BACK", START_US + 400_000, lambda: picture(0)[:450, :800])
    for stamp_us in range(START_US + 100_000, START_US + 450_001, 50_000):
        drive(live, stamp_us)
    live.offer_sweep(START_US + 450_000, revolution(0))
    found = answer(live)
    assert found.cameras == () and found.lidar
    assert [words.split(":")[0] for words in found.refused] == [LEFT, "CAM_BACK"]
    assert "800 x 450, expected 1600 x 900" in found.refused[1]


def test_at_the_start_the_lidar_is_waited_for(live: LivePerception) -> None:
    drive(live, START_US)
    live.offer_image(FRONT, START_US + 10_000, lambda: picture(0))
    drive(live, START_US + 50_000)
    time.sleep(0.2)
    assert not live.busy and live.take() is None
    for stamp_us in range(START_US + 100_000, START_US + 600_001, 50_000):
        drive(live, stamp_us)
    live.offer_image(FRONT, START_US + 590_000, lambda: picture(0))
    assert answer(live).stamp_us == START_US + 590_000


def test_without_lidar_the_first_camera_that_delivers_sets_the_pace(live: LivePerception) -> None:
    drive(live, START_US)
    live.offer_sweep(START_US + 10_000, revolution(0))
    drive(live, START_US + 50_000)
    assert answer(live).lidar
    for stamp_us in range(START_US + 100_000, START_US + 700_001, 50_000):
        drive(live, stamp_us)
    live.offer_image(LEFT, START_US + 650_000, lambda: picture(1))
    found = answer(live)
    assert (found.stamp_us, found.cameras, found.lidar) == (START_US + 650_000, (LEFT,), False)
    live.offer_image(FRONT, START_US + 660_000, lambda: picture(2))  # now this one is first
    assert answer(live).stamp_us == START_US + 660_000
    live.offer_image(LEFT, START_US + 680_000, lambda: picture(3))
    time.sleep(0.2)
    assert live.take() is None


@pytest.mark.parametrize(
    "offer",
    [
        lambda live, stamp: live.offer_sweep(stamp, revolution(0)),
        lambda live, stamp: live.offer_image(FRONT, stamp, lambda: picture(0)),
    ],
    ids=["sweep", "image"],
)
def test_stamps_out_of_order_or_from_the_future_are_refused_and_counted(
    live: LivePerception, offer: Callable[[LivePerception, int], Verdict]
) -> None:
    drive(live, START_US)
    assert offer(live, START_US + 20_000) is Verdict.ACCEPTED
    assert offer(live, START_US + 20_000) is Verdict.OUT_OF_ORDER
    assert offer(live, START_US + 3_000_000) is Verdict.FROM_FUTURE
    assert live.rejected == 2


def test_when_the_data_begins_anew_what_was_known_is_forgotten(
    live: LivePerception, perception: Perception, nuscenes_rig: Rig
) -> None:
    drive(live, START_US + 900_000)
    live.offer_sweep(START_US + 950_000, revolution(0))
    drive(live, START_US + 950_000)
    answer(live)
    told = [drive(live, START_US + 50_000 * t) for t in range(6)]
    assert told[4] is Verdict.RESTARTED
    live.offer_sweep(START_US + 300_000, revolution(1))
    drive(live, START_US + 300_000)
    found = answer(live)
    mount, stamp_us = nuscenes_rig.lidar("LIDAR_TOP").mount.ego_from_sensor, START_US + 300_000
    sweep = LidarSweep(revolution(1), stamp_us, pose_at(stamp_us), mount)
    seen = perception.perceive([sweep], {})
    fresh = SteadyOccupancy().update(Look(seen.occupied, seen.occupancy.semantics), pose_at(stamp_us), stamp_us)
    assert found.occupancy is not None
    np.testing.assert_array_equal(found.occupancy.semantics, fresh.semantics)


def test_what_the_diagnostics_say() -> None:
    seen = Perceived(1, None, (FRONT,), False, True, (), {"prepare": 2.0, "perceive": 3.0})
    state = PerceptionState("active", seen, (FRONT, LEFT), silent_s=0.1, rejected=3)
    engine, inputs, processing = findings(state, 1.0)
    assert (engine.message, inputs.message) == ("active", f"camera_lost:{LEFT}, lidar_lost")
    assert inputs.severity == 1 and inputs.values["rejected"] == "3"
    assert processing.message == "5 ms" and processing.values == {"prepare_ms": "2.0", "perceive_ms": "3.0"}
    silent = findings(state.now("active", refused="", silent_s=2.0, rejected=0, skipped=0, frames=0), 1.0)
    assert silent[1].severity == 2 and "2.0 s" in silent[1].message
    dead = findings(state.now("active", refused="it died", silent_s=0.0, rejected=0, skipped=0, frames=0), 1.0)
    assert dead[0].severity == 2 and dead[0].message == "it died"
