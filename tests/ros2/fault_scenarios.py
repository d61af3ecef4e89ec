"""Each fault, injected into a running node and watched until it is mended. Run by test_faults.py as a process:

python fault_scenarios.py RIG.yaml SABOTAGE_FILE

reads lines {"fault": KEY, "pid": PID} from stdin and answers each with a line of JSON: an `Observed`, or an error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import rclpy
from fault_world import NODE, World, read_sabotaged, stamp
from genie_msgs.msg import DrivingCommand, OccupancyForecast, ScenePredictionStatus
from genie_ros import qos
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Empty

from calib.files import write_text
from calib.rig_file import load_rig
from deploy.faults import FAULTS

OK, DEGRADED, HOLD, FAULT = range(4)


@dataclass
class Observed:
    """Seconds: until the status told it, until /diagnostics did (None where it is not told there), from the end of the
    cause until all was OK. level, reasons: of that first status. later_level: the worst until it was mended."""

    detected_s: float
    diagnosed_s: float | None
    recovered_s: float | None
    level: int
    reasons: list[str]
    later_level: int
    words: str = ""


class Bench:
    """A world and what the test may do to it."""

    def __init__(self, world: World, sabotage: Path) -> None:
        self.world, self.sabotage = world, sabotage

    def spoil(self, what: str) -> None:
        self.sabotage.with_suffix(".done").unlink(missing_ok=True)
        write_text(self.sabotage, what)

    def watch(
        self,
        key: str,
        cause_s: float,
        wanted: Callable[[ScenePredictionStatus], bool],
        mend: Callable[[], None],
        *,
        since_s: float | None = None,
        until_level: int | None = None,
        severity: int = 1,
    ) -> Observed:
        """From the cause to the end.

        Args:
            wanted: which status tells the fault.
            mend: takes the cause away.
            since_s: which statuses count, where that is not since the cause.
            until_level: wait for this level before mending.
            severity: how bad /diagnostics has to say it is.
        """
        world, since = self.world, cause_s if since_s is None else since_s
        at_s, status = world.await_status(wanted, since)
        diagnosed_s, words = world.await_diagnosis(FAULTS[key].component, severity, 2, since)
        if until_level is not None:
            world.await_status(lambda s: s.level == until_level, at_s)
            time.sleep(0.15)  # some ticks in that state: is it silent?
        mend()
        mended_s = time.monotonic()
        recovered_s = world.await_ok()
        worst = max(s.level for t, s in world.heard.statuses if at_s <= t <= recovered_s)
        return Observed(
            at_s - cause_s, diagnosed_s - cause_s, recovered_s - mended_s, status.level, list(status.reasons), worst,
            words,
        )  # fmt: skip

    def stopped(self, key: str, streams: set[str], reason: str, until_level: int | None) -> Observed:
        """Streams go silent; counted from their last word."""
        world = self.world
        world.off |= streams
        time.sleep(0.02)  # the publishing thread may be at it
        cause_s = min(world.sent_s[name] for name in streams)
        return self.watch(
            key, cause_s, lambda s: reason in s.reasons, lambda: world.off.difference_update(streams),
            until_level=until_level, severity=2 if until_level is not None else 1,
        )  # fmt: skip

    def refused(self, key: str, tell: Callable[[], None]) -> Observed:
        """Messages that must not be used: counted, told, and nothing else changes. One of several suffices: inputs are
        best effort, and a right one may push a wrong one out of the queue."""
        world = self.world
        before = world.heard.statuses[-1][1].rejected_count
        cause_s = time.monotonic()
        tell()
        return self.watch(key, cause_s, lambda s: s.rejected_count > before, lambda: None)

    def sabotaged(self, key: str, what: str, reason: str) -> Observed:
        self.spoil(what)
        begin_s = time.monotonic()
        cause_s = read_sabotaged(self.sabotage.with_suffix(".done"))
        return self.watch(
            key, cause_s, lambda s: reason in s.reasons, lambda: self.spoil(""), since_s=begin_s, severity=2
        )

    def flushed(self, key: str, cause_s: float, mend: Callable[[], None] = lambda: None) -> Observed:
        return self.watch(key, cause_s, lambda s: key in s.reasons, mend)


def side_camera_lost(bench: Bench, _pid: int) -> Observed:
    seen = bench.stopped("side_camera_lost", {"camera4"}, "camera_lost:CAM_BACK_LEFT", None)
    masks = {s.camera_mask for _, s in bench.world.heard.statuses[-200:] if "camera_lost:CAM_BACK_LEFT" in s.reasons}
    assert masks == {0b101111}, masks
    return seen


def front_camera_lost(bench: Bench, _pid: int) -> Observed:
    return bench.stopped("front_camera_lost", {"camera0"}, "front_camera_lost", FAULT)


def input_stopped(bench: Bench, _pid: int) -> Observed:
    return bench.stopped("input_stopped", {"occupancy", "odometry"}, "no_occupancy", FAULT)


def stamp_from_future(bench: Bench, _pid: int) -> Observed:
    world = bench.world

    def tell() -> None:
        world.tell_occupancy(world.now_us() + 5_000_000)
        world.tell_odometry(world.now_us() + 5_000_000)

    return bench.refused("stamp_from_future", tell)


def stamps_out_of_order(bench: Bench, _pid: int) -> Observed:
    world = bench.world

    def tell() -> None:
        world.tell_odometry(world.now_us() - 1_000_000)
        world.tell_occupancy(world.now_us() - 1_000_000)
        world.tell_camera(2, world.now_us() - 1_000_000)

    return bench.refused("stamps_out_of_order", tell)


def output_not_finite(bench: Bench, _pid: int) -> Observed:
    return bench.sabotaged("output_not_finite", "nan", "output_not_finite")


def output_implausible(bench: Bench, _pid: int) -> Observed:
    return bench.sabotaged("output_implausible", "speed", "output_speed")


def worker_died(bench: Bench, _pid: int) -> Observed:
    return bench.sabotaged("worker_died", "die", "inference_failed")


def inference_slow(bench: Bench, _pid: int) -> Observed:
    """First a little (DEGRADED), then so much that the forecast becomes too old."""
    world = bench.world
    bench.spoil("slow 0.45")
    world.await_status(lambda s: s.level == DEGRADED and "inference_slow" in s.reasons, time.monotonic())
    bench.spoil("slow 2.0")
    begin_s = time.monotonic()
    at_s, late = world.await_status(lambda s: s.level == HOLD and "inference_late" in s.reasons, begin_s)
    answered_s = world.monotonic_of(stamp(late.observation_stamp))
    return bench.watch(
        "inference_slow",
        answered_s,
        lambda s: "inference_late" in s.reasons,
        lambda: bench.spoil(""),
        since_s=at_s,
        until_level=FAULT,
    )


def calibration_differs(bench: Bench, _pid: int) -> Observed:
    world = bench.world
    begin_s = time.monotonic()
    world.wrong_focal[2] = 5.0
    while world.sent_s["camera2"] <= begin_s:
        time.sleep(0.001)
    cause_s = world.sent_s["camera2"]
    return bench.watch(
        "calibration_differs", cause_s, lambda s: "calibration_differs:CAM_FRONT_RIGHT" in s.reasons,
        world.wrong_focal.clear, since_s=begin_s, severity=2,
    )  # fmt: skip


def ego_jump(bench: Bench, _pid: int) -> Observed:
    cause_s = time.monotonic()
    bench.world.position_offset_m += 50.0
    return bench.flushed("ego_jump", cause_s)


def clock_jump(bench: Bench, _pid: int) -> Observed:
    """A bag that loops under use_sim_time: clock and stamps go back together."""
    cause_s = time.monotonic()
    bench.world.clock_offset_us -= 20_000_000
    return bench.flushed("clock_jump", cause_s)


def reset_requested(bench: Bench, _pid: int) -> Observed:
    cause_s = time.monotonic()
    bench.world.reset.publish(Empty())
    return bench.flushed("reset_requested", cause_s)


def qos_mismatch(bench: Bench, _pid: int) -> Observed:
    cause_s = time.monotonic()
    asker = Node("asks_for_more")  # in no executor: for DDS it is there all the same
    asker.create_subscription(OccupancyForecast, f"{NODE}/output/forecast", lambda _: None, qos.LATCHED)
    seen = bench.watch("qos_mismatch", cause_s, lambda s: True, asker.destroy_node, severity=2)
    assert "DURABILITY" in seen.words.upper() and "/geniedrive/output/forecast" in seen.words, seen.words
    assert seen.diagnosed_s is not None
    seen.detected_s = seen.diagnosed_s
    return seen


def slow_subscriber(bench: Bench, _pid: int) -> Observed:
    """Its callback sleeps 0.5 s; it must get the newest forecast each time, and nobody else may see anything."""
    world = bench.world
    heard: list[tuple[float, float, int]] = []  # arrival, age of the stamp (s), published_count

    def on_forecast(message: OccupancyForecast) -> None:
        age_s = (world.now_us() - stamp(message.header.stamp)) * 1e-6
        heard.append((time.monotonic(), age_s, message.status.published_count))
        time.sleep(0.5)

    sleeper, executor = Node("slow_subscriber"), SingleThreadedExecutor()
    sleeper.create_subscription(OccupancyForecast, f"{NODE}/output/forecast", on_forecast, qos.OUTPUT)
    executor.add_node(sleeper)
    begin_s, stop = time.monotonic(), threading.Event()
    thread = threading.Thread(target=lambda: [executor.spin_once(timeout_sec=0.1) for _ in iter(stop.is_set, True)])
    thread.start()
    time.sleep(3.0)
    stop.set()
    thread.join()
    executor.shutdown()
    sleeper.destroy_node()
    end_s = time.monotonic()
    counts = [s.published_count for t, s in world.heard.statuses if begin_s <= t <= end_s]
    rate = (counts[-1] - counts[0]) / (end_s - begin_s)
    gaps = [b[2] - a[2] for a, b in pairwise(heard[1:])]
    before = [s.published_count for t, s in world.heard.statuses if begin_s - 3.0 <= t <= begin_s]
    assert rate > 0.5 * (before[-1] - before[0]) / 3.0, f"the node published {rate:.1f} Hz"
    assert gaps and min(gaps) > 2, f"gaps in published_count: {gaps}"
    assert max(age for _, age, _ in heard[1:]) < 1.0, f"ages of what it gets: {heard}"
    waits = [b[0] - a[0] - 0.5 for a, b in pairwise(heard[1:])]
    return Observed(max(waits), None, None, OK, [], OK, f"{rate:.1f} Hz meanwhile")


def killed(bench: Bench, pid: int) -> Observed:
    """kill -9; silence for three periods tells a subscriber. The test starts the node again."""
    heard = bench.world.heard.statuses
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() - heard[-1][0] < 0.1:
        assert time.monotonic() < deadline, "it still speaks"
        time.sleep(0.002)
    return Observed(time.monotonic() - heard[-1][0], None, None, OK, [], OK)


def ready(bench: Bench, _pid: int) -> Observed:
    """Not a fault: until all is OK after a start. What is remembered of an earlier process is dropped."""
    begin_s = time.monotonic()
    heard = bench.world.heard
    for events in (heard.statuses, heard.forecasts, heard.diagnostics):
        events.clear()
    first_s, first = bench.world.await_status(lambda s: True, begin_s, 60.0)
    assert first.published_count < 300 and first.inference_id < 100, f"counts from an earlier life: {first}"
    return Observed(first_s - begin_s, None, bench.world.await_ok() - begin_s, first.level, list(first.reasons), HOLD)


def driving_command(bench: Bench, _pid: int) -> Observed:
    """Not a fault: what is told reaches the model with the next inference, is taken back, and nonsense is refused."""
    world, begin_s = bench.world, time.monotonic()
    world.command.publish(DrivingCommand(command=DrivingCommand.LEFT))
    at_s, status = world.await_status(lambda s: s.command == DrivingCommand.LEFT, begin_s)
    world.command.publish(DrivingCommand(command=DrivingCommand.UNKNOWN))
    world.await_status(lambda s: s.command == DrivingCommand.UNKNOWN, at_s)
    refused = world.heard.statuses[-1][1].rejected_count
    world.command.publish(DrivingCommand(command=9))
    world.await_status(lambda s: s.rejected_count > refused, at_s)
    return Observed(at_s - begin_s, None, world.await_ok() - begin_s, status.level, list(status.reasons), status.level)


def check_promises(heard: Any) -> None:
    """Of all since the last start: a forecast is new once, in order, and nothing is published in FAULT."""
    ids = [m.status.inference_id for _, m in heard.forecasts if m.status.is_new_inference]
    assert len(ids) > 3 and all(b > a for a, b in pairwise(ids)), f"new twice, or out of order: {ids}"
    assert all(m.status.level != FAULT for _, m in heard.forecasts)
    for (_, before), (_, after) in pairwise(heard.statuses):
        assert after.level != FAULT or after.published_count <= before.published_count, after
        assert after.level != FAULT or not after.is_new_inference, after


SCENARIOS: dict[str, Callable[[Bench, int], Observed]] = {
    f.__name__: f
    for f in (
        side_camera_lost, front_camera_lost, input_stopped, stamp_from_future, stamps_out_of_order, output_not_finite,
        output_implausible, worker_died, inference_slow, calibration_differs, ego_jump, clock_jump, reset_requested,
        qos_mismatch, slow_subscriber, killed, ready, driving_command,
    )
}  # fmt: skip


@contextmanager
def _world(rig: Path) -> Any:
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    world = World(load_rig(rig))
    try:
        yield world
    finally:
        world.close()
        rclpy.shutdown()


def main(rig: Path, sabotage: Path) -> None:
    with _world(rig) as world:
        bench = Bench(world, sabotage)
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer = asdict(SCENARIOS[asked["fault"]](bench, asked["pid"]))
                if asked["fault"] not in ("killed", "ready"):
                    check_promises(world.heard)
            except (AssertionError, TimeoutError):
                world.off.clear()
                bench.spoil("")
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
