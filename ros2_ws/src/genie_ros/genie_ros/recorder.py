"""Listens to the forecast node until a signal, then writes what it heard: rates, stamps, latencies, a few forecasts.

    FOLDER/ros.json   the summary (`summarise`)
    FOLDER/ros.npz    every arrival and stamp; the newest forecast of every few seconds

The latency of an observation is the time from the moment its odometry was heard here (it is published just before its
occupancy) to the arrival of the first forecast that rests on it; both by the clock of this process.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from genie_msgs.msg import OccupancyForecast, ScenePredictionStatus
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from calib.files import atomic_path, write_json
from deploy.observer import timeline
from genie_ros import conversions
from genie_ros.process import exit_code_of, ros_context, stop_on_signals
from perception.types import GRID

LEVELS = ("OK", "DEGRADED", "HOLD", "FAULT")


@dataclass
class Recording:
    """One entry per arrived forecast; sent_ns by stamp (us) of the odometry; kept forecasts by stamp (us)."""

    arrival_ns: list[int] = field(default_factory=list)
    stamp_us: list[int] = field(default_factory=list)
    observation_us: list[int] = field(default_factory=list)
    inference_id: list[int] = field(default_factory=list)
    is_new: list[bool] = field(default_factory=list)
    inference_s: list[float] = field(default_factory=list)
    level: list[int] = field(default_factory=list)
    published: list[int] = field(default_factory=list)  # the node's own count
    skipped: list[int] = field(default_factory=list)
    status_ns: list[int] = field(default_factory=list)  # one entry per status, also where nothing was published
    status_level: list[int] = field(default_factory=list)
    status_reasons: list[str] = field(default_factory=list)  # words with commas between
    sent_ns: dict[int, int] = field(default_factory=dict)
    kept: dict[int, OccupancyForecast] = field(default_factory=dict)

    def add(self, message: OccupancyForecast, arrival_ns: int) -> None:
        status = message.status
        self.arrival_ns.append(arrival_ns)
        self.stamp_us.append(conversions.us_from_time(message.header.stamp))
        self.observation_us.append(conversions.us_from_time(status.observation_stamp))
        self.inference_id.append(status.inference_id)
        self.is_new.append(status.is_new_inference)
        self.inference_s.append(status.inference_time)
        self.level.append(status.level)
        self.published.append(status.published_count)
        self.skipped.append(status.skipped_count)

    def add_status(self, message: ScenePredictionStatus, arrival_ns: int) -> None:
        self.status_ns.append(arrival_ns)
        self.status_level.append(message.level)
        self.status_reasons.append(",".join(message.reasons))

    def latencies_s(self) -> list[float]:
        """Of each new inference whose observation's publication was heard."""
        new = zip(self.arrival_ns, self.observation_us, self.is_new, strict=True)
        return [(ns - self.sent_ns[us]) * 1e-9 for ns, us, is_new in new if is_new and us in self.sent_ns]


def summarise(recording: Recording) -> dict[str, Any]:
    """Rates between the first and the last arrival (Hz), times in milliseconds; null where nothing can be told."""
    arrivals = np.array(recording.arrival_ns, np.int64)
    span_s = float(arrivals[-1] - arrivals[0]) * 1e-9 if len(arrivals) > 1 else 0.0
    new = np.flatnonzero(recording.is_new)
    new_span_s = float(arrivals[new[-1]] - arrivals[new[0]]) * 1e-9 if len(new) > 1 else 0.0
    sent_by_node = recording.published[-1] - recording.published[0] + 1 if recording.published else 0
    return {
        "seconds": span_s,
        "forecasts": len(arrivals),
        "forecasts_lost": sent_by_node - len(arrivals),
        "published_hz": (len(arrivals) - 1) / span_s if span_s else None,
        "new_inferences": len(new),
        "new_inference_hz": (len(new) - 1) / new_span_s if new_span_s else None,
        "observations_skipped": recording.skipped[-1] if recording.skipped else 0,
        "longest_silence_ms": float(np.diff(arrivals).max()) * 1e-6 if len(arrivals) > 1 else None,
        "latency_ms": _distribution(recording.latencies_s()),
        "inference_ms": _distribution([recording.inference_s[i] for i in new]),
        "timeline": _timeline(recording),
        "levels": {name: recording.level.count(level) for level, name in enumerate(LEVELS)},
    }


def _timeline(recording: Recording) -> list[dict[str, Any]]:
    """Stretches of one level and one set of reasons; seconds from the first status."""
    words = [tuple(w for w in reasons.split(",") if w) for reasons in recording.status_reasons]
    stretches = timeline([ns * 1e-9 for ns in recording.status_ns], recording.status_level, words)
    return [
        {"begin_s": s.begin_s, "end_s": s.end_s, "level": LEVELS[s.level], "reasons": list(s.reasons)}
        for s in stretches
    ]


def _distribution(seconds: list[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    median, p95, highest = np.percentile(np.array(seconds) * 1e3, [50, 95, 100])
    return {"count": len(seconds), "median": float(median), "p95": float(p95), "max": float(highest)}


class RecorderNode(Node):
    """Subscribes to a forecast node's output, and to its odometry for the moments of publication."""

    def __init__(self, target: str, keep_every_s: float) -> None:
        super().__init__("geniedrive_recorder")
        self.recording = Recording()
        self._keep_every_us = round(keep_every_s * 1e6)
        # Deep queues: a recorder that is late for a moment still counts everything.
        heard = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Odometry, f"/{target}/input/odometry", self._on_odometry, heard)
        deep = QoSProfile(depth=100)
        self.create_subscription(ScenePredictionStatus, f"/{target}/output/status", self._on_status, deep)
        self.create_subscription(
            OccupancyForecast, f"/{target}/output/forecast", self._on_forecast, QoSProfile(depth=8)
        )

    def _on_odometry(self, message: Odometry) -> None:
        # When DDS sent it would be nearer to the truth, but Humble's callbacks are not told.
        self.recording.sent_ns[conversions.us_from_time(message.header.stamp)] = time.time_ns()

    def _on_status(self, message: ScenePredictionStatus) -> None:
        self.recording.add_status(message, time.time_ns())

    def _on_forecast(self, message: OccupancyForecast) -> None:
        self.recording.add(message, time.time_ns())
        kept, stamp_us = self.recording.kept, self.recording.observation_us[-1]
        if message.status.is_new_inference and (not kept or stamp_us - max(kept) >= self._keep_every_us):
            kept[stamp_us] = message


def save(recording: Recording, folder: Path) -> None:
    """Writes both files, each whole or not at all."""
    arrays = {name: np.array(values) for name, values in vars(recording).items() if name not in ("sent_ns", "kept")}
    kept = list(recording.kept.values())
    arrays["kept_observation_us"] = np.array(list(recording.kept), np.int64)
    # Back to [H, X, Y, Z], as everywhere else in the project.
    shape = (-1, *GRID.shape[::-1])
    volumes = [np.frombuffer(message.data, np.uint8).reshape(shape).transpose(0, 3, 2, 1) for message in kept]
    arrays["kept_semantics"] = np.array(volumes, np.uint8)
    arrays["kept_seconds"] = np.array([[conversions.s_from_duration(d) for d in m.time_from_start] for m in kept])
    arrays["kept_ego_poses"] = np.array([[conversions.matrix_from_pose(p) for p in m.ego_poses] for m in kept])
    with atomic_path(folder / "ros.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    write_json(folder / "ros.json", summarise(recording))


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="recorder", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="geniedrive", help="name of the node to listen to")
    parser.add_argument("--keep-every", type=float, default=5.0, help="seconds of data between two kept forecasts")
    stop = stop_on_signals()
    options, ros_arguments = parser.parse_known_args(arguments)
    with ros_context(ros_arguments):
        node = RecorderNode(options.target, options.keep_every)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.get_logger().info("listening")
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        node.destroy_node()
    save(node.recording, options.folder)
    return 0


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
