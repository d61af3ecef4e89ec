"""Windows to look at: what was seen, what happened, and what ego-warp and the model made of it.

They are chosen by the truth alone, one a scene: the window in which the most voxels belong to things that move.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calib.files import atomic_path
from calib.transforms import inverse
from genie.data.npz import read_npz
from genie.data.scenes import Scene
from genie.data.sequence import Sequence
from genie.data.windows import STREAMS, windows
from genie.evaluation.moving import moving_boxes, moving_region
from genie.evaluation.report import SHOWN_S
from genie.forecaster import Forecaster
from perception.types import HORIZONS_S, MOVABLE

OBSERVED_BEFORE_S = 1.0  # a stream begins with nothing seen; a picture of that would show no motion
Volumes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One window at SHOWN_S (1, 2, 3 s).

    title:       the scene, and how far into it.
    observation: uint8 [200, 200, 16], the present frame.
    truth, baseline, forecast: uint8 [3, 200, 200, 16], each step in the true future ego frame.
    """

    title: str
    observation: Volumes
    truth: Volumes
    baseline: Volumes
    forecast: Volumes

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **vars(self))


def load_shown(path: Path) -> Shown:
    """Raises InputError if the file is absent, damaged or of another layout."""
    arrays = read_npz(path, ("title", "observation", "truth", "baseline", "forecast"))
    return Shown(str(arrays.pop("title")), **arrays)


def show(scenes: Iterable[Scene], protocol: str, baseline: Forecaster, model: Forecaster, count: int) -> list[Shown]:
    """The windows of the `count` scenes with the most motion, forecast with the true future ego poses."""
    chosen = []
    for scene in scenes:
        step = 5 if protocol in STREAMS else 1
        present, moving = _busiest(scene, protocol, step)
        chosen.append((moving, scene.sequence, present, step))
    chosen.sort(key=lambda entry: -entry[0])
    return [_forecast(sequence, present, step, baseline, model) for _, sequence, present, step in chosen[:count]]


def _targets(present: int, step: int) -> list[int]:
    """Frames of SHOWN_S after `present`; `step` frames are half a second."""
    return [present + step * (HORIZONS_S.index(h) + 1) for h in SHOWN_S]


def _busiest(scene: Scene, protocol: str, step: int) -> tuple[int, int]:
    """The present frame of the window with the most moving voxels 2 s later, and how many they are."""
    sequence = scene.sequence
    best = (0, -1)
    for window in windows(protocol, len(sequence)):
        if sequence.timestamp_us[window.present] - sequence.timestamp_us[0] < OBSERVED_BEFORE_S * 1e6:
            continue
        target = _targets(window.present, step)[1]
        region = np.isin(sequence.semantics[target], MOVABLE)
        if scene.tracks is not None:
            moving = [moving_boxes(scene.tracks.at(int(sequence.timestamp_us[i]))) for i in (window.present, target)]
            region &= moving_region(moving, inverse(sequence.world_from_ego[target]))
        best = max(best, (window.present, int(region.sum())), key=lambda entry: entry[1])
    return best


def _forecast(sequence: Sequence, present: int, step: int, baseline: Forecaster, model: Forecaster) -> Shown:
    all_targets = [present + step * (h + 1) for h in range(len(HORIZONS_S))]
    given = inverse(sequence.world_from_ego[present]) @ sequence.world_from_ego[all_targets]
    shown = [HORIZONS_S.index(h) for h in SHOWN_S]
    forecasts = []
    for forecaster in (baseline, model):
        forecaster.reset()
        for t in range(present + 1):
            forecaster.observe(sequence.frame(t))
        forecasts.append(forecaster.forecast(given).semantics[shown])
    seconds = (sequence.timestamp_us[present] - sequence.timestamp_us[0]) * 1e-6
    return Shown(
        title=f"{sequence.name}, {seconds:.1f} s into it",
        observation=sequence.semantics[present],
        truth=sequence.semantics[_targets(present, step)],
        baseline=forecasts[0],
        forecast=forecasts[1],
    )
