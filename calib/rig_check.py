"""Whether a rig can be: rotations that rotate, sensors that are on the car, cameras that see different things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calib.camera import unproject
from calib.errors import InputError
from calib.rig import COEFFICIENTS, Camera, Intrinsics, Rig
from calib.transforms import Array

ORTHONORMAL = 1e-4  # of R R^T - I: a matrix typed with five digits passes, a scaled or sheared one does not
REACH = 20.0  # m from the ego frame; a lorry with a trailer
FOCAL = (0.1, 20.0)  # of the image's width
SIZE = (16, 20_000)  # px
FREQUENCY = (0.1, 1000.0)  # Hz
OFFSET = 1.0  # s
SAME_PLACE, SAME_VIEW = 0.05, 0.95  # m, and share of the narrower view
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


class Problem(NamedTuple):
    """What is wrong: the key in the file, what was found, what was expected."""

    key: str
    found: str
    expected: str


class Overlap(NamedTuple):
    """Two cameras that share bearings: how many degrees around the car, and their share of the narrower view."""

    first: str
    second: str
    degrees: float
    share: float


def validate(rig: Rig, path: Path | str | None = None) -> None:
    """
    Raises:
        InputError: the first problem, and how many there are.
    """
    problems = list(find_problems(rig))
    if not problems:
        return
    key, found, expected = problems[0]
    others = f" ({len(problems)} problems in all)" if len(problems) > 1 else ""
    raise InputError(
        f"{key}: found {found}{others}", expected=expected, fix="mend this key, or calibrate again", path=path
    )


def find_problems(rig: Rig) -> Iterator[Problem]:
    """All that is wrong with the rig."""
    names = [s.name for s in rig.sensors]
    if not names:
        yield Problem("cameras, lidars", "no sensor", "at least one")
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield Problem(name, f"{names.count(name)} sensors of this name", "a name for each sensor")
    for group, sensors in (("cameras", rig.cameras), ("lidars", rig.lidars)):
        for sensor in sensors:
            key = f"{group}.{sensor.name}"
            if not _NAME.fullmatch(sensor.name):
                yield Problem(key, repr(sensor.name), "a name of letters, digits and _ . -, a letter first")
            yield from _pose_problems(f"{key}.ego_from_sensor", sensor.mount.ego_from_sensor)
            yield from _range(f"{key}.frequency_hz", sensor.mount.frequency_hz, *FREQUENCY)
            yield from _range(f"{key}.time_offset_s", sensor.mount.time_offset_s, -OFFSET, OFFSET)
    wrong = False
    for camera in rig.cameras:
        for problem in intrinsics_problems(camera.intrinsics, f"cameras.{camera.name}."):
            wrong = True
            yield problem
    if not wrong:
        yield from _copies(rig)


def intrinsics_problems(intrinsics: Intrinsics, key: str = "") -> Iterator[Problem]:
    """What is wrong with one camera's intrinsics."""
    width, height = intrinsics.size
    for n in intrinsics.size:
        yield from _range(f"{key}size", n, *SIZE)
    for f in intrinsics.focal:
        yield from _range(f"{key}focal", f, FOCAL[0] * width, FOCAL[1] * width)
    for c, n in zip(intrinsics.centre, (width, height), strict=True):
        if not 0 <= c <= n - 1:
            yield Problem(f"{key}centre", f"{c:g} of {n} px", "inside the image")
    count = len(intrinsics.distortion)
    allowed = COEFFICIENTS[intrinsics.model]
    if count not in allowed:
        yield Problem(f"{key}distortion", f"{count} coefficients", f"{' or '.join(map(str, allowed))} of them")


def _range(key: str, value: float, low: float, high: float) -> Iterator[Problem]:
    if not low <= value <= high:
        yield Problem(key, f"{value:g}", f"{low:g} to {high:g}")


def _pose_problems(key: str, pose: Array) -> Iterator[Problem]:
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        yield Problem(key, f"shape {pose.shape}", "a 4x4 matrix of finite numbers")
        return
    rotation = pose[:3, :3]
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if off > ORTHONORMAL:
        yield Problem(key, f"a rotation that is off orthonormal by {off:.2g}", f"at most {ORTHONORMAL:g}")
    elif np.linalg.det(rotation) < 0:
        yield Problem(key, "determinant -1: a reflection", "a rotation, determinant +1 (check the signs of the axes)")
    if not np.allclose(pose[3], (0, 0, 0, 1)):
        yield Problem(key, f"a last row of {pose[3].tolist()}", "0, 0, 0, 1")
    distance = float(np.abs(pose[:3, 3]).max())
    if distance > REACH:
        yield Problem(key, f"a translation of {distance:g}", f"at most {REACH:g} m (is it in mm?)")


def _copies(rig: Rig) -> Iterator[Problem]:
    places = {c.name: c.mount.ego_from_sensor[:3, 3] for c in rig.cameras}
    axes = {c.name: c.mount.ego_from_sensor[:3, 2] for c in rig.cameras}
    for pair in overlaps(rig):
        near = float(np.linalg.norm(places[pair.first] - places[pair.second])) < SAME_PLACE
        if near and pair.share > SAME_VIEW and axes[pair.first] @ axes[pair.second] > np.cos(np.radians(5)):
            found = f"the place and view of cameras.{pair.first} ({pair.share:.0%} of the narrower view)"
            yield Problem(f"cameras.{pair.second}.ego_from_sensor", found, "a mount of its own (was it copied?)")


def bearings(camera: Camera, step_deg: float = 0.5) -> np.ndarray:
    """Which bearings around the car the middle of the image sees: bool [360 / step]."""
    width = camera.intrinsics.size[0]
    row = np.column_stack([np.linspace(0, width - 1, 721), np.full(721, camera.intrinsics.centre[1])])
    rays = unproject(camera.intrinsics, row) @ camera.mount.ego_from_sensor[:3, :3].T
    count = round(360 / step_deg)
    # Between the image's columns the bearing turns steadily: every bin from one end to the other is seen.
    angle = np.degrees(np.unwrap(np.arctan2(rays[:, 1], rays[:, 0])))
    seen = np.zeros(count, dtype=bool)
    seen[np.arange(int(np.floor(angle.min() / step_deg)), int(np.ceil(angle.max() / step_deg))) % count] = True
    return seen


def overlaps(rig: Rig) -> list[Overlap]:
    """Pairs of cameras that see the same bearings."""
    seen = {c.name: bearings(c) for c in rig.cameras}
    out = []
    for first, second in combinations(seen, 2):
        both = int((seen[first] & seen[second]).sum())
        if both:
            degrees = both * 360 / len(seen[first])
            out.append(Overlap(first, second, degrees, both / min(seen[first].sum(), seen[second].sum())))
    return out


def blind_degrees(rig: Rig) -> float:
    """Bearings around the car that no camera sees (degrees)."""
    seen = np.zeros(720, dtype=bool)
    for camera in rig.cameras:
        seen |= bearings(camera)
    return float((~seen).sum() * 360 / len(seen))
