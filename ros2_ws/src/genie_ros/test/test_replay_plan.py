"""What replay publishes when, and how long that takes."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from genie_ros.plays import plan_events
from genie_ros.replay import paced

from calib.transforms import se3_from_xyz_yaw, yaw_of
from genie.data.sequence import Sequence


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    stamps = 1_532_402_927_647_951 + np.array([0, 99_979, 210_019, 710_019])
    seconds = (stamps - stamps[0]) / 1e6
    xyz = np.stack([8 * seconds, 0 * seconds, 0 * seconds], axis=1)
    empty = np.zeros((4, 1, 1, 1), dtype=np.uint8)  # never looked at here
    return Sequence("s", empty, stamps, se3_from_xyz_yaw(xyz, 0.2 * seconds), Path("s"))


def test_every_frame_has_its_stamp_and_odometry_fills_the_gaps(sequence):
    events = plan_events(sequence, 50.0)
    stamps = np.array([e.stamp_us for e in events])
    assert (np.diff(stamps) > 0).all() and np.diff(stamps).max() <= 20_000
    assert [e.stamp_us for e in events if e.frame is not None] == sequence.timestamp_us.tolist()
    seconds = (stamps - stamps[0]) / 1e6
    np.testing.assert_allclose([e.world_from_ego[0, 3] for e in events], 8 * seconds, atol=1e-4)
    np.testing.assert_allclose([yaw_of(e.world_from_ego) for e in events], 0.2 * seconds, atol=1e-5)


def test_pace_follows_the_rate_and_a_stop_ends_it_at_once(sequence):
    events = plan_events(sequence, 50.0)
    stop = threading.Event()
    start = time.monotonic()
    assert len(list(paced(events, 2.0, stop))) == len(events)
    assert 0.35 <= time.monotonic() - start < 1.5
    arrivals: list[float] = []
    for _ in paced(events, 2.0, stop, catch_up=False):
        if not arrivals:
            time.sleep(0.3)  # as if a forecast was waited for
        arrivals.append(time.monotonic())
    assert min(b - a for a, b in pairwise(arrivals)) > 0.003, "no burst after a wait"
    stop.set()
    assert list(paced(events, 0.001, stop)) == []
