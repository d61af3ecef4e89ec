"""Which scenes a run trains on, and preparing them with progress."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from rich.progress import track

from calib.errors import InputError
from genie.data.nuscenes import find_version
from genie.data.scenes import list_scenes, load_scenes
from genie.training.annotated import annotate, derived_stream
from genie.training.targets import MotionScene, TrainingScene, prepare_scene


class Split(NamedTuple):
    """Scene names."""

    train: list[str]
    held_out: list[str]


class Cancellable(Protocol):
    asked: bool


def split_scenes(dataroot: Path, source: str, holdout: int, most: int = 0) -> Split:
    """The first `most` scenes (0: all), of which the last `holdout` are never trained on.

    Raises:
        InputError: too few scenes, or no annotation tables to learn motion from.
    """
    find_version(dataroot)
    names = list_scenes(dataroot, source)[: most or None]
    if len(names) <= holdout:
        raise InputError(
            f"{len(names)} scenes with {source} labels",
            expected=f"more than train.holdout_scenes ({holdout})",
            fix="synthesise or download more scenes, or lower train.holdout_scenes",
            path=dataroot,
        )
    return Split(names[: len(names) - holdout], names[len(names) - holdout :])


class Prepared(NamedTuple):
    """scenes: as they are. motion: what moves, in each as it is or, with annotators, as annotated anew."""

    scenes: list[TrainingScene]
    motion: list[MotionScene]


def prepare_scenes(
    dataroot: Path,
    source: str,
    names: list[str],
    cancel: Cancellable,
    *,
    crops: int = 0,
    annotators: int = 0,
    seed: int = 0,
) -> Prepared:
    """Loads and prepares scenes; stops early when cancelled.

    Args:
        crops: of how many the occupancy is kept; 0: of all.
        annotators: how often each is annotated anew (genie.training.annotated).
    """
    prepared = Prepared([], [])
    for scene in track(load_scenes(dataroot, source, names), "preparing scenes", total=len(names)):
        if cancel.asked:
            break
        if scene.tracks is None:
            raise InputError(
                f"{scene.sequence.name} has no annotations",
                expected="the v1.0-* tables beside the labels",
                fix="train on a data root with tables",
                path=dataroot,
            )
        kept = not crops or len(prepared.scenes) < crops
        if kept or not annotators:
            whole = prepare_scene(scene.sequence, scene.tracks)
            if kept:
                prepared.scenes.append(whole)
            if not annotators:
                prepared.motion.append(whole.motion())
        for again in range(annotators):
            rng = np.random.default_rng([seed, len(prepared.motion), again])
            tracks = annotate(scene.tracks, rng)
            prepared.motion.append(prepare_scene(derived_stream(scene.sequence, tracks), tracks).motion())
    return prepared
