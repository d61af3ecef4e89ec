"""Has a sensor moved since it was calibrated? A monitor for the car, fed while it drives.

Each image with its sweep is asked: would lidar and camera agree better if the camera were turned or shifted a little,
one way or the other, about each axis (`CHANGES`)? As long as nothing has moved, no change helps on average. Once the
camera has been turned by a change, the opposite one helps by about as much as it harmed before: a cumulative sum of the
gains (CUSUM, Page 1954) then rises steadily, and where it passes `ALARM` that is told. The gains are counted in
standard deviations of reference driving (`fit_reference`), which also says which changes a sensor can tell at all.

All state is explicit: `update` takes it and returns it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.agreement import in_view, perturbation, project_ends, score
from calib.edges import ImageEdges, LidarEdges, image_edges
from calib.rig import Intrinsics
from calib.transforms import Array

AXES = ("rx", "ry", "rz", "tx", "ty", "tz")
TURN, SHIFT = float(np.radians(0.5)), 0.05  # rad, m
CHANGES = tuple((axis, sign) for axis in range(6) for sign in (-1, 1))
NAMES = tuple(f"{'+' if sign > 0 else '-'}{AXES[axis]}" for axis, sign in CHANGES)
SPREAD = 1 / 400  # of the image's width: how wide an edge is made
MIN_ENDS = 60  # of things, in an image that is asked
ALARM = 9.0  # standard deviations, summed
TELLING = 0.55  # of the mean loss in reference driving, in deviations: below, the change cannot be told
MIN_REFERENCE = 60  # images


class Reading(NamedTuple):
    """What one measurement says. gains: [k], by how much it would agree better after each of k changes, which `names`
    names: of a camera CHANGES, of a lidar those of `lidar_drift`."""

    sensor: str
    stamp_us: int
    gains: Array
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reference:
    """Of one sensor, from driving when the calibration was right. mean, deviation: [k] of the gains."""

    mean: Array
    deviation: Array

    @property
    def telling(self) -> NDArray[np.bool_]:
        """Which changes harm so clearly that their opposites can be told: [k]."""
        return self.mean < -TELLING * self.deviation


@dataclass(frozen=True, eq=False)
class DriftState:
    """Cumulative sums [k] of each sensor. All zero at the start."""

    sums: Mapping[str, Array] = field(default_factory=dict)


class Alarm(NamedTuple):
    """A sensor has moved. change: of a camera what would mend it, as "+ry" (its drift is the opposite); of a lidar what
    has become of it, as "+pitch". The sensor's sums begin anew, so that an alarm is told once."""

    sensor: str
    stamp_us: int
    change: str
    sum: float


class Updated(NamedTuple):
    """The state to go on with, and the alarm, if there is one."""

    state: DriftState
    alarm: Alarm | None


def read_frame(
    camera: str,
    stamp_us: int,
    image: NDArray[np.uint8],
    edges: LidarEdges,
    camera_from_lidar: Array,
    intrinsics: Intrinsics,
) -> Reading | None:
    """Of a BGR image and the ends of a sweep; None where too little is seen.

    Args:
        camera_from_lidar: [4, 4] as calibrated, the ego motion between the two stamps included.
    """
    return read_edges(
        camera, stamp_us, image_edges(image, image.shape[1] * SPREAD), edges, camera_from_lidar, intrinsics
    )


def read_edges(
    camera: str, stamp_us: int, image: ImageEdges, edges: LidarEdges, camera_from_lidar: Array, intrinsics: Intrinsics
) -> Reading | None:
    """As `read_frame`, of an image whose edges are known."""
    near = in_view(edges, camera_from_lidar, intrinsics)
    if len(project_ends(near, camera_from_lidar, intrinsics).pixel) < MIN_ENDS:
        return None
    here = score(image, near, camera_from_lidar, intrinsics)
    changed = [score(image, near, change(k) @ camera_from_lidar, intrinsics) for k in range(len(CHANGES))]
    gains = np.array(changed) - here
    return Reading(camera, stamp_us, gains, NAMES) if np.isfinite(gains).all() else None


def change(number: int) -> Array:
    """The [4, 4] of one of CHANGES, in the camera's frame."""
    axis, sign = CHANGES[number]
    return perturbation(axis, sign * (TURN if axis < 3 else SHIFT))


def fit_reference(readings: Sequence[Reading]) -> dict[str, Reference]:
    """One for each sensor that has MIN_REFERENCE readings, of driving with a calibration that was just checked."""
    out = {}
    for sensor in sorted({r.sensor for r in readings}):
        gains = np.stack([r.gains for r in readings if r.sensor == sensor])
        if len(gains) >= MIN_REFERENCE:
            out[sensor] = Reference(gains.mean(0), gains.std(0))
    return out


def update(state: DriftState, reading: Reading, reference: Mapping[str, Reference]) -> Updated:
    """Adds one reading. After an alarm the sums of its sensor begin anew."""
    expected = reference.get(reading.sensor)
    if expected is None:
        return Updated(state, None)
    before = state.sums.get(reading.sensor, np.zeros(len(reading.gains)))
    # A single odd image must not decide: three deviations at most.
    step = np.clip(reading.gains / np.maximum(expected.deviation, 1e-9), -3.0, 3.0)
    sums = np.where(expected.telling, np.maximum(before + step, 0.0), 0.0)
    best = int(np.argmax(sums))
    alarm = None
    if sums[best] > ALARM:
        alarm = Alarm(reading.sensor, reading.stamp_us, reading.names[best], float(sums[best]))
        sums = np.zeros_like(sums)
    return Updated(DriftState({**state.sums, reading.sensor: sums}), alarm)


def suspect(alarms: Sequence[Alarm], cameras: int) -> str:
    """Which sensor moved: the lidar, where most cameras disagree with it; else the cameras themselves."""
    named = sorted({alarm.sensor for alarm in alarms})
    return "the lidar" if cameras > 1 and len(named) > cameras / 2 else ", ".join(named)


def rate_bound_per_hour(alarms: int, seconds: float) -> float:
    """Upper 95 % bound of the rate of false alarms where none was seen: 3 / time (rule of three); NaN if some were."""
    return 3.0 / (seconds / 3600.0) if alarms == 0 else float("nan")
