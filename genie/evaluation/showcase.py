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
SHOWN = [HORIZONS_S.index(h) for h in SHOWN_S]
Volumes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One window at SHOWN_S (1, 2, 3 s).

    title:       the scene, and how far into it.
    driven_m:    how far the ego goes in the 3 s.
    moving:      voxels of moving things after 2 s.
    observation: uint8 [200, 200, 16], the present frame.
    truth, baseline, forecast: uint8 [3, 200, 200, 16], each step in the true future ego frame.
    """

    title: str
    driven_m: float
    moving: int
    observation: Volumes
    truth: Volumes
    baseline: Volumes
    forecast: Volumes

    @property
    def interest(self) -> tuple[bool, int]:
        """Of two windows, the greater is the one to show."""
        return self.driven_m >= DRIVES_M, self.moving

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **vars(self))


def load_shown(path: Path) -> Shown:
    """Raises InputError if the file is absent, damaged or of another layout."""
    arrays = read_npz(path, ("title", "driven_m", "moving", "observation", "truth", "baseline", "forecast"))
    return Shown(str(arrays.pop("title")), float(arrays.pop("driven_m")), int(arrays.pop("moving")), **arrays)


def show(scene: Scene, protocol: str, baseline: Forecaster, model: Forecaster) -> Shown | None:
    """The chosen window of a scene, forecast with the true future ego poses; None if the scene is too short for one."""
    sequence, step = scene.sequence, 5 if protocol in STREAMS else 1
    first_us = sequence.timestamp_us[0] + OBSERVED_BEFORE_S * 1e6
    presents = [w.present for w in windows(protocol, len(sequence)) if sequence.timestamp_us[w.present] >= first_us]
    if not presents:
        return None
    targets = {present: [present + step * (h + 1) for h in range(len(HORIZONS_S))] for present in presents}
    driven_m = {p: _distance(sequence, p, targets[p][-1]) for p in presents}
    moving = {p: _moving_voxels(scene, p, targets[p][HORIZONS_S.index(2.0)]) for p in presents}
    chosen = max(presents, key=lambda p: (driven_m[p] >= DRIVES_M, moving[p]))
    forecasts = [_forecast(f, sequence, chosen, targets[chosen]) for f in (baseline, model)]
    seconds = (sequence.timestamp_us[chosen] - sequence.timestamp_us[0]) * 1e-6
    return Shown(
        title=f"{sequence.name}, {seconds:.1f} s into it",
        driven_m=driven_m[chosen],
        moving=moving[chosen],
        observation=sequence.semantics[chosen],
        truth=sequence.semantics[targets[chosen]][SHOWN],
        baseline=forecasts[0],
        forecast=forecasts[1],
    )


def _distance(sequence: Sequence, first: int, last: int) -> float:
    return float(np.linalg.norm(sequence.world_from_ego[last, :3, 3] - sequence.world_from_ego[first, :3, 3]))


def _moving_voxels(scene: Scene, present: int, target: int) -> int:
    """Voxels of `target` that belong to what moves; of what can move, where nothing is annotated."""
    sequence = scene.sequence
    region = np.isin(sequence.semantics[target], MOVABLE)
    if scene.tracks is not None:
        moving = [moving_boxes(scene.tracks.at(int(sequence.timestamp_us[i]))) for i in (present, target)]
        region &= moving_region(moving, inverse(sequence.world_from_ego[target]))
    return int(region.sum())


def _forecast(forecaster: Forecaster, sequence: Sequence, present: int, targets: list[int]) -> Volumes:
    """[3, 200, 200, 16], with all frames up to the present observed."""
    forecaster.reset()
    for t in range(present + 1):
        forecaster.observe(sequence.frame(t))
    given = inverse(sequence.world_from_ego[present]) @ sequence.world_from_ego[targets]
    return forecaster.forecast(given).semantics[SHOWN]
