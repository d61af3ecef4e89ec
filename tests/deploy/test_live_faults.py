"""What the live forecaster makes of each fault: no ROS, time in the test's hands. The same faults are injected into the
real node in tests/ros2/test_faults.py."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from calib.errors import InputError
from calib.rig import Camera, Intrinsics, Mount, Rig
from calib.rig_file import save_rig
from calib.transforms import se3, se3_from_xyz_yaw
from deploy import faults
from deploy.cameras import CameraWatch, checked_rig, same_calibration
from deploy.diagnosis import Diagnosis, NodeState, Severity
from deploy.live import LiveForecaster
from deploy.live_status import Level, LiveLimits, Tick, stuck
from deploy.plausible import PlausibleLimits, problems
from deploy.poses import is_jump
from deploy.stamps import ClockWatch, DataClock, ExternalClock, Verdict
from genie.command import Command
from perception.types import HORIZONS_S, SceneForecast, SensorFrame
from tests.deploy.live_bench import T0, Bench, StandInEngine

PINHOLE = Intrinsics("pinhole", (1600, 900), (1266.0, 1266.0), (816.0, 491.0))


class RealShapes(StandInEngine):
    """STAND-IN: straight on at 5 m/s, at rest in nothing else; `spoil` changes what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []
        self.changes: dict[str, object] = {}

    def step(self, frame: SensorFrame, plan: object = None) -> SceneForecast:
        self.told.append(plan)
        made = super().step(frame)
        times = np.array(HORIZONS_S, np.float32)
        whole = replace(
            made,
            horizons_s=times,
            trajectory=np.stack([5 * times, 0 * times, 0 * times], axis=1),
            confidence=np.full((6, 50, 50), 0.5, np.float32),
            semantics=np.full((6, 4), 17, np.uint8),
        )
        return replace(whole, **self.changes)


def bench_of(limits: LiveLimits | None = None, cameras: bool = False) -> Bench:
    engine = RealShapes()
    bench = Bench(engine, None)  # type: ignore[arg-type]
    clock = DataClock(lambda: bench.seconds)
    watch = None
    if cameras:
        watch = CameraWatch(
            RIG, "CAM_FRONT", clock, max_age_us=500_000, future_tolerance_us=200_000, monotonic_s=lambda: bench.seconds
        )
    bench.live = LiveForecaster(engine, clock, limits or LiveLimits(), cameras=watch, monotonic_s=lambda: bench.seconds)
    return bench


def camera(name: str, yaw: float) -> Camera:
    # x right, y down, z ahead, turned about the ego's z
    ahead = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    return Camera(name, PINHOLE, Mount(se3_from_xyz_yaw(np.array([0.0, 0.0, 1.5]), yaw) @ ahead, 12.0))


RIG = Rig("test", (camera("CAM_FRONT", 0.0), camera("CAM_LEFT", 1.2), camera("CAM_BACK", np.pi)))


def drive(bench: Bench, start_us: int, end_us: int, cameras: tuple[int, ...] = ()) -> Tick:
    for us in range(start_us, end_us, 100_000):
        bench.seconds += 0.1
        for index in cameras:
            bench.live.offer_camera(index, T0 + us, PINHOLE)
        bench.occupancy(us)
        bench.live.offer_odometry(T0 + us, se3(np.array([us * 5e-6, 0.0, 0.0])))
        tick = bench.tick_when_new()
    return tick


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"trajectory": np.full((6, 3), np.nan, np.float32)}, "output_not_finite"),
        ({"confidence": np.full((6, 50, 50), np.inf, np.float32)}, "output_not_finite"),
        ({"confidence": np.full((6, 50, 50), 1.5, np.float32)}, "output_confidence"),
        ({"semantics": np.full((6, 4), 18, np.uint8)}, "output_class"),
        ({"trajectory": np.outer(HORIZONS_S, [80.0, 0.0, 0.0]).astype(np.float32)}, "output_speed"),
        ({"trajectory": np.outer(HORIZONS_S, [5.0, 0.0, 3.0]).astype(np.float32)}, "output_turn"),
        ({"trajectory": np.outer(HORIZONS_S, [25.0, 0.0, 0.0]).astype(np.float32)}, "output_jump"),
    ],
)
def test_a_bad_forecast_is_withheld_and_the_engine_forgets_its_state(change: dict[str, object], word: str) -> None:
    bench = bench_of()
    try:
        assert drive(bench, 0, 1_300_000).status.level is Level.OK
        published, resets = bench.live.tick().status.published_count, bench.engine.resets
        bench.engine.changes = change
        bench.seconds += 0.1
        bench.occupancy(1_300_000)
        bench.live.offer_odometry(T0 + 1_300_000, se3(np.array([6.5, 0.0, 0.0])))
        bad = _until(bench, lambda tick: tick.status.level is Level.FAULT)
        assert bad.forecast is None and word in bad.status.reasons
        assert bad.status.published_count - published <= 100 and not bad.status.is_new_inference
        assert bench.live.tick().forecast is None, "nothing is published until a sound forecast comes"
        bench.engine.changes = {}
        sound = drive(bench, 1_400_000, 1_500_000)
        assert sound.status.level is Level.DEGRADED and faults.OUTPUT_WITHHELD in sound.status.reasons
        assert bench.engine.resets == resets + 1
        assert drive(bench, 1_500_000, 2_700_000).status.level is Level.OK
    finally:
        bench.live.close()


def _until(bench: Bench, wanted) -> Tick:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        tick = bench.live.tick()
        if wanted(tick):
            return tick
        time.sleep(0.002)
    raise AssertionError("never seen")


def test_what_cars_do_is_plausible() -> None:
    engine = RealShapes()
    frame = SensorFrame(T0 + 100_000, se3(np.array([3.0, 0.0, 0.0])))
    before = SensorFrame(T0, np.eye(4))
    times = np.array(HORIZONS_S)
    fast = replace(engine.step(frame), trajectory=np.outer(times, [40.0, 0.0, 0.1]).astype(np.float32))
    assert problems(fast, frame, None, PlausibleLimits()) == ()
    braking = np.stack([30 * times - 4.5 * times**2, 0 * times, 0 * times], 1).astype(np.float32)
    assert problems(replace(fast, trajectory=braking), frame, before, PlausibleLimits()) == ()


def test_an_inference_thread_that_dies_is_started_anew_three_times_a_minute() -> None:
    bench = bench_of()
    try:
        us = 0
        drive(bench, 0, 200_000)
        for death in range(4):
            bench.engine.error = RuntimeError("dead")
            us += 200_000
            bench.occupancy(us)
            bench.live.offer_odometry(T0 + us, se3(np.array([us * 5e-6, 0.0, 0.0])))
            died = _until(bench, lambda tick: tick.failure is not None)
            assert died.status.reasons == (faults.INFERENCE_FAILED,) and stuck(died)
            bench.engine.error = None
            bench.seconds += 1.01
            us += 1_000_000
            if death < 3:
                back = drive(bench, us, us + 100_000)
                assert back.failure is None and back.status.level is Level.DEGRADED
        bench.seconds += 30.0
        assert stuck(bench.live.tick()), "too often: only a new process, or a new activation, can help"
    finally:
        bench.live.close()


def test_a_jump_of_the_ego_pose_flushes_and_driving_fast_or_a_gap_does_not() -> None:
    bench = bench_of()
    try:
        drive(bench, 0, 1_300_000)
        bench.live.offer_odometry(T0 + 1_320_000, se3(np.array([56.5, 0.0, 0.0])))
        tick = bench.live.tick()
        assert (tick.forecast, tick.status.level, tick.status.reasons) == (None, Level.HOLD, (faults.EGO_JUMP,))
    finally:
        bench.live.close()
    at = lambda x, yaw: se3_from_xyz_yaw(np.array([x, 0.0, 0.0]), yaw)  # noqa: E731
    assert not is_jump(at(0, 0), at(1.2, 0), 20_000, 3.0, 0.5), "60 m/s"
    assert not is_jump(at(0, 0), at(25, 0), 500_000, 3.0, 0.5), "half a second was lost"
    assert is_jump(at(0, 0), at(3.5, 0), 20_000, 3.0, 0.5)
    assert is_jump(at(0, 0), at(0, 3.0), 20_000, 3.0, 0.5)


def test_a_clock_that_jumps_back_or_far_ahead_flushes_and_a_fast_bag_does_not() -> None:
    now, seconds = [T0], [100.0]
    watch = ClockWatch(ExternalClock(lambda: now[0]), 1_000_000, monotonic_s=lambda: seconds[0])

    def step(clock_us: int, passed_s: float) -> bool:
        now[0] += clock_us
        seconds[0] += passed_s
        return watch.jumped()

    assert not step(0, 0.0)
    assert not step(20 * 33_000, 0.033), "played twenty times as fast"
    assert step(-20_000_000, 0.033) and not step(33_000, 0.033)
    assert step(30_000_000, 0.033)
    now[0] = 0
    assert not watch.jumped(), "nobody tells the time"
    assert not ClockWatch(DataClock(), 1_000_000).jumped()


def test_a_reset_and_a_late_result_of_before() -> None:
    bench = bench_of()
    try:
        drive(bench, 0, 1_300_000)
        bench.live.flush(faults.RESET_REQUESTED)
        tick = bench.live.tick()
        assert (tick.forecast, tick.status.reasons) == (None, (faults.RESET_REQUESTED,))
        again = drive(bench, 1_300_000, 1_400_000)
        assert again.status.reasons == (faults.REFILLING, faults.RESET_REQUESTED)
        assert bench.engine.resets == 2
    finally:
        bench.live.close()


def test_cameras_are_masked_and_without_the_front_one_nothing_new_is_believed() -> None:
    bench = bench_of(cameras=True)
    try:
        tick = drive(bench, 0, 1_300_000, (0, 1, 2))
        assert (tick.status.level, tick.status.camera_mask) == (Level.OK, 0b111)
        tick = drive(bench, 1_300_000, 2_000_000, (0, 2))
        assert (tick.status.camera_mask, tick.status.reasons) == (0b101, ("camera_lost:CAM_LEFT",))
        assert tick.status.level is Level.DEGRADED
        steps = len(bench.engine.stepped)
        for us in range(2_000_000, 2_700_000, 100_000):
            bench.seconds += 0.1
            bench.live.offer_camera(1, T0 + us, PINHOLE)
            bench.live.offer_camera(2, T0 + us, PINHOLE)
            bench.occupancy(us)
            bench.live.offer_odometry(T0 + us, se3(np.array([us * 5e-6, 0.0, 0.0])))
            time.sleep(0.01)
        held = bench.live.tick()
        assert held.status.level is Level.HOLD and held.status.reasons == (faults.FRONT_CAMERA_LOST,)
        assert held.forecast is not None and len(bench.engine.stepped) - steps <= 5
        bench.seconds += 1.1
        assert bench.live.tick().forecast is None and bench.live.tick().status.level is Level.FAULT
    finally:
        bench.live.close()


def test_a_camera_of_another_calibration_is_a_fault_and_a_smaller_image_is_none(tmp_path) -> None:
    bench = bench_of(cameras=True)
    try:
        drive(bench, 0, 1_300_000, (0, 1, 2))
        other = replace(PINHOLE, focal=(1300.0, 1266.0))
        bench.live.offer_camera(1, T0 + 1_310_000, other)
        tick = bench.live.tick()
        assert (tick.forecast, tick.status.level) == (None, Level.FAULT)
        assert tick.status.reasons == ("calibration_differs:CAM_LEFT",)
        bench.live.offer_camera(1, T0 + 1_320_000, PINHOLE)
        assert bench.live.tick().status.level is Level.OK
    finally:
        bench.live.close()
    assert same_calibration(PINHOLE, PINHOLE.scaled((800, 450)))
    assert not same_calibration(PINHOLE, replace(PINHOLE, distortion=(0.1, 0.0, 0.0, 0.0)))
    assert not same_calibration(PINHOLE, replace(PINHOLE, size=(1600, 600)))
    save_rig(tmp_path / "rig.yaml", RIG)
    assert checked_rig(tmp_path / "rig.yaml", RIG.sha256).name == "test"
    with pytest.raises(InputError, match="calibration differs"):
        checked_rig(tmp_path / "rig.yaml", "0" * 64)


def test_a_command_reaches_the_model_until_it_is_old_or_taken_back() -> None:
    bench = bench_of()
    try:
        bench.live.tell_command(Command.LEFT)
        assert drive(bench, 0, 200_000).status.command is Command.LEFT
        bench.seconds += 3.0
        assert drive(bench, 200_000, 300_000).status.command is None
        bench.live.tell_command(Command.RIGHT)
        drive(bench, 300_000, 400_000)
        bench.live.tell_command(None)
        drive(bench, 400_000, 500_000)
        assert bench.engine.told == [Command.LEFT, Command.LEFT, None, Command.RIGHT, None]
    finally:
        bench.live.close()


def test_a_slow_inference_is_doubted() -> None:
    bench = bench_of(LiveLimits(slow_inference_us=1, refill_us=0))
    try:
        assert drive(bench, 0, 300_000).status.reasons == (faults.INFERENCE_SLOW,)
    finally:
        bench.live.close()


def test_diagnostics_follow_the_status_and_name_the_component() -> None:
    bench = bench_of()
    told = Diagnosis(33.3, monotonic_s=lambda: bench.seconds)
    active = NodeState("active")

    def levels(tick: Tick, node: NodeState = active) -> dict[str, Severity]:
        return {f.component: f.severity for f in told.findings(tick.status, node)}

    try:
        good = drive(bench, 0, 1_300_000)
        assert set(levels(good).values()) == {Severity.OK}
        assert tuple(levels(good)) == faults.COMPONENTS
        assert bench.occupancy(0) is Verdict.OUT_OF_ORDER
        assert levels(bench.live.tick())[faults.INPUTS] is Severity.WARN
        bench.seconds += 2.5
        assert levels(bench.live.tick())[faults.INPUTS] is Severity.ERROR, "input that stops"
        refused = NodeState("unconfigured", refused="sha256 differs\n  to do: ...")
        found = {f.component: f for f in told.findings(None, refused)}
        assert (found[faults.ENGINE].severity, found[faults.ENGINE].message) == (Severity.ERROR, "sha256 differs")
        found = {f.component: f for f in told.findings(None, NodeState("inactive", mismatches=["/x: DURABILITY"]))}
        assert found[faults.CONNECTIONS].severity is Severity.ERROR and found[faults.ENGINE].message == "inactive"
    finally:
        bench.live.close()


def test_every_row_of_the_table_says_all_it_has_to() -> None:
    for key, fault in faults.FAULTS.items():
        assert fault.title and fault.told and fault.counted_from and fault.recovery, key
        assert 0 < fault.bound(LiveLimits()) <= faults.START_S
