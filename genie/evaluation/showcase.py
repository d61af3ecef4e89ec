"""Windows to look at: what was seen, what happened, and what ego-warp and the model made of it.

They are chosen by the truth alone, one a scene: of the windows in which the ego drives 5 m or more, the one with the
most voxels of things that move.
"""

from __future__ import annotations

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
DRIVES_M = 5.0  # in three seconds
Volumes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One window at SHOWN_S (1, 2, 3 s).

    title:       the scene, and how far into it.
    moving:      voxels of moving things after 2 s: how much there is to see.
    observation: uint8 [200, 200, 16], the present frame.
    truth, baseline, forecast: uint8 [3, 200, 200, 16], each step in the true future ego frame.
    """

    title: str
    moving: int
    observation: Volumes
    truth: Volumes
    baseline: Volumes
    forecast: Volumes

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **vars(self))


def load_shown(path: Path) -> Shown:
    """Raises InputError if the file is absent, damaged or of another layout."""
    arrays = read_npz(path, ("title", "moving", "observation", "truth", "baseline", "forecast"))
    return Shown(str(arrays.pop("title")), int(arrays.pop("moving")), **arrays)


def show(scene: Scene, protocol: str, baseline: Forecaster, model: Forecaster) -> Shown | None:
    """The chosen window of a scene, forecast with the true future ego poses; None if the scene is too short for one."""
    sequence, step = scene.sequence, 5 if protocol in STREAMS else 1
    first_us = sequence.timestamp_us[0] + OBSERVED_BEFORE_S * 1e6
    presents = [w.present for w in windows(protocol, len(sequence)) if sequence.timestamp_us[w.present] >= first_us]
    if not presents:
        return None
    targets = {present: [present + step * (h + 1) for h in range(len(HORIZONS_S))] for present in presents}

    def interest(present: int) -> tuple[bool, int]:
        path = sequence.world_from_ego[[present, targets[present][-1]], :3, 3]
        drives = bool(np.linalg.norm(path[1] - path[0]) >= DRIVES_M)
        return drives, _moving_voxels(scene, present, targets[present][HORIZONS_S.index(2.0)])

    chosen = max(presents, key=interest)
    return _forecast(sequence, chosen, targets[chosen], interest(chosen)[1], baseline, model)


def _moving_voxels(scene: Scene, present: int, target: int) -> int:
    """Voxels of `target` that belong to what moves; of what can move, where nothing is annotated."""
    sequence = scene.sequence
    region = np.isin(sequence.semantics[target], MOVABLE)
    if scene.tracks is not None:
        moving = [moving_boxes(scene.tracks.at(int(sequence.timestamp_us[i]))) for i in (present, target)]
        region &= moving_region(moving, inverse(sequence.world_from_ego[target]))
    return int(region.sum())


def _forecast(
    sequence: Sequence, present: int, targets: list[int], moving: int, baseline: Forecaster, model: Forecaster
) -> Shown:
    given = inverse(sequence.world_from_ego[present]) @ sequence.world_from_ego[targets]
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
        moving=moving,
        observation=sequence.semantics[present],
        truth=sequence.semantics[[targets[i] for i in shown]],
        baseline=forecasts[0],
        forecast=forecasts[1],
    )
