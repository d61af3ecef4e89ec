"""Built labels against labels that are known to be right, inside the masks of the latter."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from calib.errors import InputError
from genie.data.occ3d import read_labels
from perception.metrics import ConfusionTable, confusion_table
from perception.types import NUM_CLASSES

REGIONS = ("mask_lidar", "mask_camera")


class Agreement(NamedTuple):
    """Confusion tables [18, 18] (rows: truth) inside the truth's masks, over `frames` keyframes."""

    frames: int
    mask_lidar: ConfusionTable
    mask_camera: ConfusionTable


def compare(built: Path | str, truth: Path | str, scenes: list[str]) -> Agreement:
    """Labels BUILT/<scene>/<token>/labels.npz against TRUTH/<scene>/<token>/labels.npz, wherever there are both.

    Raises:
        InputError: there is no such pair, or a file is damaged.
    """
    tables = {region: np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64) for region in REGIONS}
    frames = 0
    for path in sorted(p for scene in scenes for p in (Path(truth) / scene).glob("*/labels.npz")):
        mine = Path(built) / path.relative_to(truth)
        if not mine.is_file():
            continue
        right, found = read_labels(path), read_labels(mine)
        for region in REGIONS:
            tables[region] += confusion_table(right.semantics, found.semantics, getattr(right, region))
        frames += 1
    if not frames:
        raise InputError(
            "no keyframe has labels both here and among those that were built",
            expected=f"SCENE/TOKEN/labels.npz of {', '.join(scenes[:3])} in both folders",
            fix="name the folder of the true labels, usually DATAROOT/gts",
            path=truth,
        )
    return Agreement(frames, tables["mask_lidar"], tables["mask_camera"])
