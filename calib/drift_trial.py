"""The drift monitor on recorded driving: false alarms as it was, and delays after a change is injected.

A change is injected into the extrinsics that the monitor is given: to the camera's image and the lidar's points it is as
if the sensor had been moved the other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from calib.check import camera_from_lidar
from calib.drift import CHANGES, SPREAD, Alarm, DriftState, Reading, Reference, change, read_edges, update
from calib.edges import image_edges, lidar_edges
from calib.rig import Rig
from calib.tables import Keyframe, SceneData, read_image, read_sweep


class TrialReading(NamedTuple):
    """One image: the reading as it was, and with each of CHANGES injected (empty where that was not wanted)."""

    scene: str
    seconds: float
    reading: Reading
    injected: tuple[Reading | None, ...]


class Detection(NamedTuple):
    """An injected change: seconds to the alarm, None where there was none in the window."""

    scene: str
    camera: str
    change: int
    delay_s: float | None


def read_scene(scene: SceneData, window: tuple[float, float], lidar: str = "LIDAR_TOP") -> Iterator[TrialReading]:
    """All images of a scene; those within `window` (s from its start) also with changes injected."""
    start = scene.keyframes[0].lidar.stamp_us
    for keyframe in scene.keyframes:
        seconds = (keyframe.lidar.stamp_us - start) * 1e-6
        yield from _read_keyframe(scene.rig, keyframe, scene.name, seconds, window[0] <= seconds < window[1], lidar)


def _read_keyframe(
    rig: Rig, keyframe: Keyframe, scene: str, seconds: float, inject: bool, lidar: str
) -> Iterator[TrialReading]:
    edges = lidar_edges(read_sweep(keyframe.lidar.path), rig.lidar(lidar).mount.ego_from_sensor)
    for measured in keyframe.cameras:
        camera = rig.camera(measured.channel)
        image = read_image(measured.path)
        drawn = image_edges(image, image.shape[1] * SPREAD)
        pose = camera_from_lidar(rig, camera.name, lidar, measured, keyframe.lidar)
        # As it was, then with each change.
        poses = [pose] + [change(k) @ pose for k in range(len(CHANGES))] * inject
        read = [read_edges(camera.name, measured.stamp_us, drawn, edges, p, camera.intrinsics) for p in poses]
        if read[0] is not None:
            yield TrialReading(scene, seconds, read[0], tuple(read[1:]))


def false_alarms(trials: Sequence[TrialReading], reference: dict[str, Reference]) -> list[Alarm]:
    """Of the driving as it was, in order; the sums go on from scene to scene."""
    state, alarms = DriftState(), []
    for trial in trials:
        state, alarm = update(state, trial.reading, reference)
        if alarm is not None:
            alarms.append(alarm)
    return alarms


def detections(trials: Sequence[TrialReading], reference: dict[str, Reference]) -> list[Detection]:
    """Each change of each camera of each scene: the monitor has run up to the window, then the change is there."""
    out = []
    for scene, camera in sorted({(t.scene, t.reading.camera) for t in trials}):
        own = [t for t in trials if (t.scene, t.reading.camera) == (scene, camera)]
        window = [t for t in own if t.injected]
        if camera not in reference or not window:
            continue
        state = DriftState()
        for trial in own:
            if trial.seconds < window[0].seconds:
                state = update(state, trial.reading, reference).state
        out += [Detection(scene, camera, k, _delay(state, window, k, reference)) for k in range(len(CHANGES))]
    return out


def _delay(
    state: DriftState, window: Sequence[TrialReading], number: int, reference: dict[str, Reference]
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
