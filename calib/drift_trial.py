"""The drift monitor on recorded driving: false alarms as it was, and delays after a change is injected.

A change is injected into the extrinsics that the monitor is given: to the camera's image and the lidar's points it is
as if the sensor had been moved the other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from calib import lidar_drift
from calib.agreement import perturbation
from calib.check import camera_from_lidar
from calib.drift import (
    CHANGES,
    SHIFT,
    SPREAD,
    TURN,
    Alarm,
    DriftState,
    Reading,
    Reference,
    change,
    fit_reference,
    read_edges,
    update,
)
from calib.edges import NEAREST, image_edges, lidar_edges
from calib.tables import Keyframe, SceneData, read_image, read_sweep
from calib.transforms import Array, apply, inverse


class TrialReading(NamedTuple):
    """One measurement: the reading as it was, and with each of its changes injected (empty where not wanted)."""

    scene: str
    seconds: float
    reading: Reading
    injected: tuple[Reading | None, ...]


class LidarTrial(NamedTuple):
    """One sweep's levels [4] as they were, and with each of lidar_drift.NAMES injected: readings once their means are
    known."""

    scene: str
    seconds: float
    stamp_us: int
    levels: Array
    injected: tuple[Array, ...]


class Detection(NamedTuple):
    """An injected change: seconds to the alarm, None where there was none in the window. told: whether the reference
    says that this sensor can tell it."""

    scene: str
    sensor: str
    change: str
    told: bool
    delay_s: float | None


class Half(NamedTuple):
    """Some scenes' readings, in their order."""

    cameras: list[TrialReading]
    lidar: list[LidarTrial]


class Judgement(NamedTuple):
    """seconds driven, readings, false alarms, and what became of each injected change."""

    seconds: float
    readings: int
    alarms: list[Alarm]
    detections: list[Detection]


def read_cameras(scene: SceneData, window: tuple[float, float], lidar: str = "LIDAR_TOP") -> Iterator[TrialReading]:
    """All images of a scene; those within `window` (s from its start) also with changes injected."""
    for keyframe in scene.keyframes:
        seconds = _seconds(scene, keyframe)
        edges = lidar_edges(read_sweep(keyframe.lidar.path), scene.rig.lidar(lidar).mount.ego_from_sensor)
        for measured in keyframe.cameras:
            camera = scene.rig.camera(measured.channel)
            image = read_image(measured.path)
            drawn = image_edges(image, image.shape[1] * SPREAD)
            pose = camera_from_lidar(scene.rig, camera.name, lidar, measured, keyframe.lidar)
            poses = [pose]
            if window[0] <= seconds < window[1]:
                poses += [change(k) @ pose for k in range(len(CHANGES))]
            read = [read_edges(camera.name, measured.stamp_us, drawn, edges, p, camera.intrinsics) for p in poses]
            if read[0] is not None:
                yield TrialReading(scene.name, seconds, read[0], tuple(read[1:]))


def read_lidar(scene: SceneData, window: tuple[float, float], lidar: str = "LIDAR_TOP") -> Iterator[LidarTrial]:
    """All sweeps of a scene, each with the one before it."""
    mount = scene.rig.lidar(lidar).mount.ego_from_sensor
    sweeps = [read_sweep(keyframe.lidar.path)[:, :3].astype(np.float64) for keyframe in scene.keyframes]
    sweeps = [points[np.linalg.norm(points, axis=1) > NEAREST] for points in sweeps]
    for n, keyframe in enumerate(scene.keyframes):
        seconds = _seconds(scene, keyframe)
        mounts = [mount]
        if window[0] <= seconds < window[1]:
            mounts += [moved_lidar(mount, k) for k in range(len(lidar_drift.NAMES))]
        before = scene.keyframes[n - 1].lidar if n else None
        levels = []
        for placed in mounts:
            road = lidar_drift.road_levels(sweeps[n], placed)
            heading = None
            if before is not None:
                motion = inverse(before.world_from_ego) @ keyframe.lidar.world_from_ego
                heading = lidar_drift.heading_error(apply(placed, sweeps[n - 1]), apply(placed, sweeps[n]), motion)
            levels.append(
                np.append(np.full(3, np.nan) if road is None else road, np.nan if heading is None else heading)
            )
        yield LidarTrial(scene.name, seconds, keyframe.lidar.stamp_us, levels[0], tuple(levels[1:]))


def moved_lidar(ego_from_lidar: Array, number: int) -> Array:
    """As the rig would say if the lidar's levels had changed by lidar_drift.NAMES[number]."""
    level, sign = lidar_drift.LEVELS[number // 2], (-1, 1)[number % 2]
    out = ego_from_lidar.copy()
    if level == "height":
        out[2, 3] += sign * SHIFT
        return out
    # The road's pitch and roll and the heading are about the ego's y, x and z: of the lidar alone, where it stands.
    axis = {"roll": 0, "pitch": 1, "heading": 2}[level]
    turn = perturbation(axis, sign * TURN)[:3, :3]
    out[:3, :3] = turn @ ego_from_lidar[:3, :3]
    return out


def lidar_readings(lidar: str, trials: Sequence[LidarTrial], expected: Array) -> list[TrialReading]:
    """expected: [4], means of the levels in reference driving."""
    return [
        TrialReading(
            t.scene,
            t.seconds,
            lidar_drift.lidar_reading(lidar, t.stamp_us, t.levels, expected),
            tuple(lidar_drift.lidar_reading(lidar, t.stamp_us, levels, expected) for levels in t.injected),
        )
        for t in trials
    ]


def judge(reference: Half, judged: Half, lidar: str = "LIDAR_TOP") -> Judgement:
    """One half of the driving by what the other half tells of each sensor."""
    expected = np.nanmean([t.levels for t in reference.lidar], axis=0)
    fitted = fit_reference([t.reading for t in (*reference.cameras, *lidar_readings(lidar, reference.lidar, expected))])
    trials = [*judged.cameras, *lidar_readings(lidar, judged.lidar, expected)]
    trials.sort(key=lambda t: (t.scene, t.seconds))
    return Judgement(driven_seconds(trials), len(trials), false_alarms(trials, fitted), detections(trials, fitted))


def _seconds(scene: SceneData, keyframe: Keyframe) -> float:
    return (keyframe.lidar.stamp_us - scene.keyframes[0].lidar.stamp_us) * 1e-6


def false_alarms(trials: Sequence[TrialReading], reference: Mapping[str, Reference]) -> list[Alarm]:
    """Of the driving as it was, in order; the sums go on from scene to scene."""
    state, alarms = DriftState(), []
    for trial in trials:
        state, alarm = update(state, trial.reading, reference)
        if alarm is not None:
            alarms.append(alarm)
    return alarms


def detections(trials: Sequence[TrialReading], reference: Mapping[str, Reference]) -> list[Detection]:
    """Each change of each sensor of each scene: the monitor has run up to the window, then the change is there."""
    out = []
    for scene, sensor in sorted({(t.scene, t.reading.sensor) for t in trials}):
        own = [t for t in trials if (t.scene, t.reading.sensor) == (scene, sensor)]
        window = [t for t in own if t.injected]
        if sensor not in reference or not window:
            continue
        state = DriftState()
        for trial in own:
            if trial.seconds < window[0].seconds:
                state = update(state, trial.reading, reference).state
        for k, name in enumerate(window[0].reading.names):
            answer = k if name in lidar_drift.NAMES else k ^ 1  # a camera's drift is mended by the opposite
            told = bool(reference[sensor].telling[answer])
            out.append(Detection(scene, sensor, name, told, _delay(state, window, k, reference)))
    return out


def _delay(
    state: DriftState, window: Sequence[TrialReading], number: int, reference: Mapping[str, Reference]
) -> float | None:
    for trial in window:
        reading = trial.injected[number]
        if reading is None:
            continue
        state, alarm = update(state, reading, reference)
        if alarm is not None:
            return trial.seconds - window[0].seconds
    return None


def driven_seconds(trials: Sequence[TrialReading]) -> float:
    """Of all scenes, from the first image to the last."""
    spans = []
    for scene in sorted({t.scene for t in trials}):
        times = np.array([t.seconds for t in trials if t.scene == scene])
        spans.append(float(np.ptp(times)))
    return sum(spans)
