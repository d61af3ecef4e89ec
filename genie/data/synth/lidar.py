"""An HDL-32E that turns while the world moves: one revolution, as nuScenes records it.

The beam starts on the left and turns clockwise (left, ahead, right, behind). All 32 lasers of a firing follow each
other within 46 us. The revolution is cut into slices: in each, what moves stands where it is at the slice's middle
(1.6 ms either way, 3 cm at 17 m/s); the sensor itself moves from firing to firing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import inverse
from genie.data.synth.materials import INDEX
from genie.data.synth.sensors import REVOLUTION, LidarSweep, Mount
from genie.data.synth.surfaces import Seen, Surfaces
from genie.data.synth.tracer import Mesh, Tracer

Array = NDArray[np.float64]

BEAMS, FIRINGS = 32, 1084
ELEVATION = np.radians(np.linspace(-30.67, 10.67, BEAMS))  # rad, by ring
START = np.radians(188.0)  # rad, azimuth of the first firing in the sensor's frame (from x to y)
FIRING_TIME = 46.1e-6  # s, all lasers once
# The order in which the lasers fire: the lower and the upper half take turns.
_LASER_TIME = np.concatenate([np.arange(16) * 2, np.arange(16) * 2 + 1]) * FIRING_TIME / BEAMS
SLICES = 16
SECTOR = np.pi / SLICES + 0.03  # rad, half the width of a slice, and a margin

MIN_RANGE, MAX_RANGE = 0.35, 100.0  # m
RANGE_SIGMA = 0.015  # m, of one echo
QUANTUM = 0.002  # m, of a range
# Half of the echoes are heard whose reflectance * cos(incidence) / range^2 is this, more of stronger ones. Asphalt is
# seen to some 40 m, where rays graze it; a wall to the end of the range.
WEAKEST, SOFTNESS = 3.5e-6, 0.35
LOST = 0.004  # share of echoes that are lost for no reason


class Beams(NamedTuple):
    """All rays of a revolution in the order of time, n = FIRINGS * BEAMS.

    direction: float64 [n, 3], unit, sensor frame. time: float64 [n] (s, from the start). ring: uint8 [n].
    """

    direction: Array
    time: Array
    ring: NDArray[np.uint8]


def beams() -> Beams:
    time = (np.arange(FIRINGS)[:, None] * (REVOLUTION / FIRINGS) + _LASER_TIME).ravel()
    azimuth = START - 2 * np.pi * time / REVOLUTION
    elevation = np.tile(ELEVATION, FIRINGS)
    flat = np.cos(elevation)
    direction = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], 1)
    return Beams(direction, time, np.tile(np.arange(BEAMS, dtype=np.uint8), FIRINGS))


def sweep(
    mount: Mount,
    physical_from_ego: Callable[[float], Array],
    moving: Callable[[float, float], Mesh],
    surfaces: Surfaces,
    t: float,
    rng: np.random.Generator,
) -> LidarSweep:
    """The revolution that ends at `t`.

    Args:
        mount: of the lidar.
        physical_from_ego: the pose [4, 4] at a time (s).
        moving: what moves, the ego's own body included, at a time and near a bearing (rad, world) from the ego; it has
            to reach SECTOR to either side.
        surfaces: what does not.
        rng: of noise and drop-out.
    """
    rays = beams()
    start = t - REVOLUTION
    origins, directions = _in_world(rays, mount, physical_from_ego, start)
    parts = []
    for n in np.array_split(np.arange(FIRINGS), SLICES):
        rows = slice(int(n[0]) * BEAMS, (int(n[-1]) + 1) * BEAMS)
        middle = directions[rows][len(n) // 2 * BEAMS]
        bearing = float(np.arctan2(middle[1], middle[0]))
        scene = Tracer(moving(start + float(rays.time[rows].mean()), bearing))
        parts.append(surfaces.see(origins[rows].astype(np.float32), directions[rows].astype(np.float32), scene))
    seen = Seen(*(np.concatenate(field) for field in zip(*parts, strict=True)))
    label, distance, heard, intensity = _receive(surfaces, seen, origins, directions, rng)
    sensor_from_physical = inverse(physical_from_ego(t) @ mount.ego_from_sensor)
    points = origins + directions * np.where(heard, distance, 0.0)[:, None]
    local = points @ sensor_from_physical[:3, :3].T + sensor_from_physical[:3, 3]
    return LidarSweep(
        np.column_stack([local, intensity, rays.ring]).astype(np.float32),
        np.where(heard, seen.instance, -1).astype(np.int32),
        np.where(heard, label, 0).astype(np.uint8),
    )


def _in_world(
    rays: Beams, mount: Mount, physical_from_ego: Callable[[float], Array], start: float
) -> tuple[Array, Array]:
    """Origins and directions [n, 3], from poses at the ends of the slices: straight in between."""
    knots = np.linspace(0.0, REVOLUTION, SLICES + 1)
    poses = np.stack([physical_from_ego(start + float(k)) @ mount.ego_from_sensor for k in knots])
    u = rays.time[::BEAMS] / REVOLUTION * SLICES  # one pose per firing
    low = np.minimum(u.astype(int), SLICES - 1)
    f = (u - low)[:, None, None]
    pose = (poses[low] * (1 - f) + poses[low + 1] * f).repeat(BEAMS, axis=0)
    directions = np.einsum("nij,nj->ni", pose[:, :3, :3], rays.direction)
    return pose[:, :3, 3], directions / np.linalg.norm(directions, axis=1, keepdims=True)


class Received(NamedTuple):
    """label: uint8 [n], index into LIDARSEG of what was met. distance: float64 [n] (m), as measured. heard: bool [n].
    intensity: float64 [n], 0..255."""

    label: NDArray[np.uint8]
    distance: Array
    heard: NDArray[np.bool_]
    intensity: Array


def _receive(surfaces: Surfaces, seen: Seen, origins: Array, directions: Array, rng: np.random.Generator) -> Received:
    n = len(seen.distance)
    draw, noise = rng.random((3, n)), rng.standard_normal((2, n))
    true = np.maximum(seen.distance.astype(np.float64), 1e-3)
    cosine = np.abs((directions * seen.normal).sum(1))
    label, reflectance = surfaces.echo(seen, origins + directions * np.minimum(true, MAX_RANGE)[:, None])
    # Leaves let some light through to what is behind them.
    soft = seen.material == INDEX["foliage"]
    distance = true + RANGE_SIGMA * noise[0] + np.where(soft, -0.12 * np.log1p(-0.95 * draw[0]), 0.0)
    distance = np.round(distance / QUANTUM) * QUANTUM
    level = np.log(np.maximum(reflectance * cosine / true**2, 1e-12) / WEAKEST) / SOFTNESS
    heard = (draw[1] < 1 / (1 + np.exp(-level))) & (draw[2] >= LOST) & (true >= MIN_RANGE) & (true < MAX_RANGE)
    # The sensor calibrates its intensity for range, not for incidence; retro-reflectors go beyond 100.
    bright = np.where(reflectance > 0.8, 230, 100) * reflectance * (0.3 + 0.7 * cosine)
    intensity = np.clip(np.round(bright * np.exp(0.25 * noise[1])), 0, 255)
    return Received(label, distance, heard, np.where(heard, intensity, 0.0))
