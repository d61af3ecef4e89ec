"""Has a sensor moved since it was calibrated? A monitor for the car, fed while it drives.

Each image with its sweep is asked: would lidar and camera agree better if the camera were turned or shifted a little, one
way or the other, about each axis (`CHANGES`)? As long as nothing has moved, no change helps on average. Once the camera
has been turned by a change, the opposite one helps by about as much as it harmed before: a cumulative sum of the gains
(CUSUM, Page 1954) then rises steadily, and where it passes `ALARM` that is told. The gains are counted in standard
deviations of reference driving (`fit_reference`), which also says which changes this camera can tell at all.

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
SPREAD = 1 / 400  # of the image's width: how wide an edge is made
MIN_ENDS = 60  # of things, in an image that is asked
ALARM = 9.0  # standard deviations, summed
TELLING = 0.3  # of the mean loss in reference driving, in deviations: below, the change cannot be told
MIN_REFERENCE = 60  # images


class Reading(NamedTuple):
    """What one image with its sweep says. gains: [12], change of the edge agreement by each of CHANGES."""

    camera: str
    stamp_us: int
    gains: Array


@dataclass(frozen=True, eq=False)
class Reference:
    """Of one camera, from driving when the calibration was right. mean, deviation: [12] of the gains."""

    mean: Array
    deviation: Array

    @property
    def telling(self) -> NDArray[np.bool_]:
        """Which of CHANGES harm so clearly that their opposites can be told: [12]."""
        return self.mean < -TELLING * self.deviation


@dataclass(frozen=True, eq=False)
class DriftState:
    """Cumulative sums [12] of each camera. All zero at the start."""

    sums: Mapping[str, Array] = field(default_factory=dict)


class Alarm(NamedTuple):
    """A camera and its lidar no longer agree. change: what would mend it, as "+ry": the camera's own drift is the
    opposite. since the sum of this camera begins anew, an alarm is told once."""

    camera: str
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
    return Reading(camera, stamp_us, gains) if np.isfinite(gains).all() else None


def change(number: int) -> Array:
    """The [4, 4] of one of CHANGES, in the camera's frame."""
    axis, sign = CHANGES[number]
    return perturbation(axis, sign * (TURN if axis < 3 else SHIFT))


def name_of(number: int) -> str:
    axis, sign = CHANGES[number]
    return f"{'+' if sign > 0 else '-'}{AXES[axis]}"


def fit_reference(readings: Sequence[Reading]) -> dict[str, Reference]:
    """One for each camera that has MIN_REFERENCE readings, of driving with a calibration that was just checked."""
    out = {}
    for camera in sorted({r.camera for r in readings}):
        gains = np.stack([r.gains for r in readings if r.camera == camera])
        if len(gains) >= MIN_REFERENCE:
            out[camera] = Reference(gains.mean(0), gains.std(0))
    return out


def update(state: DriftState, reading: Reading, reference: Mapping[str, Reference]) -> Updated:
    """Adds one reading. After an alarm the sums of its camera begin anew."""
    expected = reference.get(reading.camera)
    if expected is None:
        return Updated(state, None)
    before = state.sums.get(reading.camera, np.zeros(len(CHANGES)))
    # A single odd image must not decide: three deviations at most.
    step = np.clip(reading.gains / np.maximum(expected.deviation, 1e-9), -3.0, 3.0)
    sums = np.where(expected.telling, np.maximum(before + step, 0.0), 0.0)
    best = int(np.argmax(sums))
    alarm = None
    if sums[best] > ALARM:
        alarm = Alarm(reading.camera, reading.stamp_us, name_of(best), float(sums[best]))
        sums = np.zeros_like(sums)
    return Updated(DriftState({**state.sums, reading.camera: sums}), alarm)


def suspect(alarms: Sequence[Alarm], cameras: int) -> str:
    """Which sensor moved: the lidar, where most cameras disagree with it; else the cameras themselves."""
    named = sorted({alarm.camera for alarm in alarms})
    return "the lidar" if cameras > 1 and len(named) > cameras / 2 else ", ".join(named)


def rate_bound_per_hour(alarms: int, seconds: float) -> float:
    """Upper 95 % bound of the rate of false alarms where none was seen: 3 / time (rule of three); NaN where some were."""
    return 3.0 / (seconds / 3600.0) if alarms == 0 else float("nan")
