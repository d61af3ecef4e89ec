from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.drift import (
    ALARM,
    NAMES,
    Alarm,
    DriftState,
    Reading,
    Reference,
    fit_reference,
    rate_bound_per_hour,
    suspect,
    update,
)
from calib.drift_trial import TrialReading, detections, false_alarms, lidar_readings, read_cameras, read_lidar
from calib.tables import Tables

YAW = NAMES.index("+ry")
# Of the front camera in the town, in deviations (docs/benchmarks/calibration.md): each change harms, on average.
HARM = np.array([0.62, 0.8, 1.85, 2.08, 0.4, 0.3, 0.73, 1.06, 0.63, 0.32, 0.0, 1.09])


def driving(seconds: float, rng: np.random.Generator, drift: int | None = None) -> list[Reading]:
    """Readings at 2 Hz with the means of the town, as alike from one to the next as there (0.6)."""
    mean = -HARM.copy()
    if drift is not None:
        mean[drift ^ 1] = HARM[drift ^ 1]
    noise, out = rng.normal(size=12), []
    for n in range(round(seconds * 2)):
        noise = 0.6 * noise + 0.8 * rng.normal(size=12)
        out.append(Reading("CAM_FRONT", n * 500_000, (mean + noise) * 0.01, NAMES))
    return out


def run(readings: list[Reading], reference: dict[str, Reference], state: DriftState | None = None) -> list[Alarm]:
    state, alarms = state or DriftState(), []
    for reading in readings:
        state, alarm = update(state, reading, reference)
        alarms += [alarm] if alarm else []
    return alarms


def test_what_cannot_be_told_is_never_told() -> None:
    reference = fit_reference(driving(300, np.random.default_rng(0)))
    telling = reference["CAM_FRONT"].telling
    assert telling[YAW] and not telling[10]  # the change that harms by nothing
    loud = [Reading("CAM_FRONT", n, np.where(np.arange(12) == 10, 1.0, -0.01), NAMES) for n in range(100)]
    assert not run(loud, reference)


def test_a_change_is_flagged_once_with_what_would_mend_it() -> None:
    rng = np.random.default_rng(1)
    reference = fit_reference(driving(300, rng))
    alarms = run(driving(10, rng, drift=YAW), reference)
    assert alarms[0].change == "-ry" and alarms[0].stamp_us <= 10_000_000 and alarms[0].sum > ALARM
    assert suspect(alarms, 6) == "CAM_FRONT" and suspect(alarms, 1) == "CAM_FRONT"
    everywhere = [alarm._replace(sensor=f"CAM_{n}") for n, alarm in enumerate(alarms[:1] * 5)]
    assert suspect(everywhere, 6) == "the lidar"


def test_state_goes_in_and_comes_out() -> None:
    rng = np.random.default_rng(2)
    reference, readings = fit_reference(driving(300, rng)), driving(3, rng, drift=YAW)
    start = DriftState()
    first = update(start, readings[0], reference)
    again = update(start, readings[0], reference)
    np.testing.assert_array_equal(first.state.sums["CAM_FRONT"], again.state.sums["CAM_FRONT"])
    assert not start.sums and first.state.sums["CAM_FRONT"].max() > 0
    unknown = update(first.state, readings[1]._replace(sensor="CAM_NEW"), reference)
    assert unknown.state is first.state and unknown.alarm is None


def test_one_odd_image_is_not_a_drift() -> None:
    rng = np.random.default_rng(3)
    reference, readings = fit_reference(driving(300, rng)), driving(20, rng)
    readings[7] = readings[7]._replace(gains=np.full(12, 5.0))  # the sun, a wet lens
    assert not run(readings, reference)


def test_the_rule_of_three() -> None:
    assert rate_bound_per_hour(0, 600.0) == pytest.approx(18.0)
    assert np.isnan(rate_bound_per_hour(1, 600.0))


@pytest.fixture(scope="module")
def trials(drive: Path) -> list[TrialReading]:
    """Of the town: as it was, and with each change injected."""
    tables = Tables(drive)
    scene = tables.scene(tables.scene_names[0])
    levels = list(read_lidar(scene, (0.0, 10.0)))
    expected = np.nanmean([t.levels for t in levels], axis=0)
    return [*read_cameras(scene, (0.0, 10.0)), *lidar_readings("LIDAR_TOP", levels, expected)]


def test_in_the_town_a_turned_camera_and_a_moved_lidar_are_flagged_and_nothing_else(trials: list[TrialReading]) -> None:
    reference = {}
    for sensor in ("CAM_FRONT", "LIDAR_TOP"):
        gains = np.stack([t.reading.gains for t in trials if t.reading.sensor == sensor])
        reference[sensor] = Reference(gains.mean(0), gains.std(0))
    assert not false_alarms(trials, reference)
    delays = {(d.sensor, d.change): d.delay_s for d in detections(trials, reference)}
    flagged = [("CAM_FRONT", "-ry"), ("CAM_FRONT", "+ry")]
    flagged += [("LIDAR_TOP", f"{sign}{level}") for level in ("height", "roll") for sign in "-+"]
    for sensor, change in flagged:
        delay = delays[sensor, change]
        assert delay is not None and delay <= 8.0, (sensor, change)


def test_a_lidars_levels_move_as_it_is_moved(trials: list[TrialReading], drive: Path) -> None:
    tables = Tables(drive)
    scene = tables.scene(tables.scene_names[0])
    for sweep in read_lidar(scene, (0.0, 3.0)):
        if not sweep.injected:
            continue
        moved = np.array(sweep.injected) - sweep.levels  # [8, 4]: minus and plus of each level
        told = np.isfinite(sweep.levels)
        amounts = np.array([0.05, *np.radians([0.5, 0.5, 0.5])])
        for level in np.flatnonzero(told):
            np.testing.assert_allclose(moved[2 * level + 1, level], amounts[level], rtol=0.2)
            np.testing.assert_allclose(moved[2 * level, level], -amounts[level], rtol=0.2)
