"""nuScenes-lidarseg and nuScenes-panoptic: the 32 categories, and a label per point of each lidar keyframe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.names import VERSION, SceneNames, token
from genie.data.synth.samples import Shot
from genie.data.synth.sensors import LIDAR, LIDARSEG, LidarSweep

# Table and folder -> how its files end.
TASKS = {"lidarseg": "lidarseg.bin", "panoptic": "panoptic.npz"}


def category_rows(seed: int) -> list[dict[str, Any]]:
    return [
        {"token": token(seed, "category", name), "name": name, "description": f"Synthetic {name}.", "index": index}
        for index, name in enumerate(LIDARSEG)
    ]


def label_rows(task: str, shots: list[Shot], names: SceneNames) -> list[dict[str, Any]]:
    """Of the lidar's keyframes among the shots. As in nuScenes, a label has the token of its sample_data."""
    tokens = [names.data_token(shot.channel, shot.time_us) for shot in shots if is_labelled(shot)]
    return [{"token": t, "sample_data_token": t, "filename": f"{task}/{VERSION}/{t}_{TASKS[task]}"} for t in tokens]


def is_labelled(shot: Shot) -> bool:
    return shot.is_key_frame and shot.channel == LIDAR


def write_labels(root: Path, sweep: LidarSweep, data_token: str) -> None:
    """Files of one keyframe: a uint8 class per point, and class * 1000 + instance (from 1; 0: none) as uint16."""
    for task, ending in TASKS.items():
        path = root / task / VERSION / f"{data_token}_{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if task == "lidarseg":
            sweep.category.astype(np.uint8).tofile(path)
        else:
            np.savez_compressed(path, data=panoptic(sweep))


def panoptic(sweep: LidarSweep) -> NDArray[np.uint16]:
    """[n]. Instances of a class are numbered by their index in the world, 1 to 999, so that a number is one object over
    the scene; where a world has more of them the numbers wrap."""
    thing = (sweep.instance >= 0) & (sweep.category > 0)
    number = np.where(thing, sweep.instance % 999 + 1, 0)
    return (sweep.category.astype(np.uint16) * 1000 + number).astype(np.uint16)
