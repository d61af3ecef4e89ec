"""Which scenes a run trains on, and preparing them with progress."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from rich.progress import track

from calib.errors import InputError
from genie.data.nuscenes import find_version
from genie.data.scenes import list_scenes, load_scenes
from genie.training.targets import TrainingScene, prepare_scene


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


def prepare_scenes(dataroot: Path, source: str, names: list[str], cancel: Cancellable) -> list[TrainingScene]:
    """Loads and prepares scenes; stops early when cancelled."""
    prepared = []
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
        prepared.append(prepare_scene(scene.sequence, scene.tracks))
    return prepared
