"""What a car carries: cameras and lidars, where they sit, when they measure. `rig_file` loads and saves it, `rig_check`
judges it, `rig_import` makes it from nuScenes tables or ROS messages.

All parts are immutable. A sensor's frame is the sensor's own: of a camera x right, y down, z ahead; the ego frame is x
ahead, y left, z up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from calib.errors import InputError
from calib.transforms import Array, inverse

Model = Literal["pinhole", "fisheye"]
MODELS: tuple[Model, ...] = ("pinhole", "fisheye")
# Counts of distortion coefficients, as OpenCV orders them: pinhole k1 k2 p1 p2 [k3 [k4 k5 k6]], fisheye k1 k2 k3 k4.
COEFFICIENTS: dict[Model, tuple[int, ...]] = {"pinhole": (0, 4, 5, 8), "fisheye": (0, 4)}


@dataclass(frozen=True)
class Intrinsics:
    """How a camera maps rays to pixels. Pixel centres have whole coordinates.

    model: pinhole (plumb-bob with 4 or 5, rational with 8 coefficients) or fisheye (4). size: width, height (px).
    focal, centre: fx, fy and cx, cy (px). distortion: in OpenCV's order, empty where images are rectified.
    """

    model: Model
    size: tuple[int, int]
    focal: tuple[float, float]
    centre: tuple[float, float]
    distortion: tuple[float, ...] = ()

    @property
    def matrix(self) -> Array:
        """[3, 3]."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    @property
    def coefficients(self) -> Array:
        """The distortion as OpenCV takes it: zeros where there is none."""
        return np.array(self.distortion or (0.0,) * 4)

    def scaled(self, size: tuple[int, int]) -> Intrinsics:
        """Of the same camera, its images resized to width and height `size`: the corner at -0.5 px stays."""
        ratio = np.array(size) / self.size
        focal, centre = np.array(self.focal) * ratio, (np.array(self.centre) + 0.5) * ratio - 0.5
        return replace(
            self, size=size, focal=(float(focal[0]), float(focal[1])), centre=(float(centre[0]), float(centre[1]))
        )


@dataclass(frozen=True, eq=False)
class Mount:
    """Where and when a sensor measures.

    ego_from_sensor: [4, 4]. frequency_hz: measurements per second. time_offset_s: to be added to the sensor's stamps to
    have them on the ego's clock.
    """

    ego_from_sensor: Array
    frequency_hz: float
    time_offset_s: float = 0.0

    @property
    def sensor_from_ego(self) -> Array:
        return inverse(self.ego_from_sensor)


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera of the rig."""

    name: str
    intrinsics: Intrinsics
    mount: Mount


@dataclass(frozen=True, eq=False)
class Lidar:
    """A lidar of the rig."""

    name: str
    mount: Mount


@dataclass(frozen=True, eq=False)
class Rig:
    """All sensors of one car. Two rigs with equal `sha256` are the same calibration."""

    name: str
    cameras: tuple[Camera, ...] = ()
    lidars: tuple[Lidar, ...] = ()

    @property
    def sensors(self) -> tuple[Camera | Lidar, ...]:
        return (*self.cameras, *self.lidars)

    def camera(self, name: str) -> Camera:
        """InputError where the rig has no camera of that name."""
        return _named(self.cameras, name, "camera", self.name)

    def lidar(self, name: str) -> Lidar:
        """InputError where the rig has no lidar of that name."""
        return _named(self.lidars, name, "lidar", self.name)

    def with_mount(self, name: str, ego_from_sensor: Array) -> Rig:
        """The rig with one sensor moved."""

        def moved(sensor: Any) -> Any:
            if sensor.name != name:
                return sensor
            return replace(sensor, mount=replace(sensor.mount, ego_from_sensor=ego_from_sensor))

        return replace(self, cameras=tuple(map(moved, self.cameras)), lidars=tuple(map(moved, self.lidars)))

    def as_tree(self) -> dict[str, Any]:
        """Plain values, as the file holds them."""
        return {
            "name": self.name,
            "cameras": {c.name: intrinsics_tree(c.intrinsics) | _mount_tree(c.mount) for c in self.cameras},
            "lidars": {s.name: _mount_tree(s.mount) for s in self.lidars},
        }

    @property
    def sha256(self) -> str:
        """Of the values, whatever the order and layout of the file that they came from."""
        text = json.dumps(self.as_tree(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def intrinsics_tree(intrinsics: Intrinsics) -> dict[str, Any]:
    """Plain values, as the file holds them."""
    return {
        "model": intrinsics.model,
        "size": [int(n) for n in intrinsics.size],
        "focal": _numbers(intrinsics.focal),
        "centre": _numbers(intrinsics.centre),
        "distortion": _numbers(intrinsics.distortion),
    }


def _mount_tree(mount: Mount) -> dict[str, Any]:
    return {
        "ego_from_sensor": [_numbers(row) for row in mount.ego_from_sensor],
        "frequency_hz": float(mount.frequency_hz),
        "time_offset_s": float(mount.time_offset_s),
    }


def _numbers(values: Iterable[float]) -> list[float]:
    return [float(v) + 0.0 for v in values]  # + 0.0: -0.0 is the same value as 0.0 and must not be another hash


def _named(sensors: tuple[Any, ...], name: str, kind: str, rig: str) -> Any:
    for sensor in sensors:
        if sensor.name == name:
            return sensor
    raise InputError(
        f"the rig {rig!r} has no {kind} {name!r}",
        expected=f"one of {', '.join(s.name for s in sensors) or 'none: it has no ' + kind}",
        fix=f"name a {kind} of this rig",
    )
