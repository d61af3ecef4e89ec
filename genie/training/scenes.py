"""Which scenes a run trains on, and loading them with progress."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from rich.progress import track

from calib.errors import InputError
from genie.data.occ3d import load_keyframes
from genie.data.sequence import Sequence
from genie.data.stream import list_stream_scenes, load_stream
from genie.training.targets import TrainingScene, prepare_scene


class Split(NamedTuple):
    """Scene names."""

    train: list[str]
    held_out: list[str]


class Cancellable(Protocol):
    asked: bool


def split_scenes(dataroot: Path, source: str, holdout: int) -> Split:
    """The last `holdout` scenes are never trained on."""
    names = list_scenes(dataroot, source)
    if len(names) <= holdout:
        raise InputError(
            f"{len(names)} scenes with {source} labels",
            expected=f"more than train.holdout_scenes ({holdout})",
            fix="synthesise or download more scenes, or lower train.holdout_scenes",
            path=dataroot,
        )
    return Split(names[: len(names) - holdout], names[len(names) - holdout :])


def list_scenes(dataroot: Path, source: str) -> list[str]:
    """Scenes of a data root that have labels of this source: "stream" (10 Hz) or "occ3d" (2 Hz keyframes)."""
    if source == "stream":
        return list_stream_scenes(dataroot)
    from genie.data.occ3d import list_labelled_scenes

    return list_labelled_scenes(dataroot)


def load_sequence(dataroot: Path, source: str, scene: str) -> Sequence:
    return load_stream(dataroot, scene) if source == "stream" else load_keyframes(dataroot, scene)


def load_scenes(dataroot: Path, source: str, names: list[str], cancel: Cancellable) -> list[TrainingScene]:
    """Loads and prepares scenes; stops early when cancelled."""
    from genie.data.nuscenes import open_nuscenes
    from genie.data.tracks import load_tracks

    tables = open_nuscenes(dataroot)
    scenes = []
    for name in track(names, description="preparing scenes"):
        if cancel.asked:
            break
        scenes.append(prepare_scene(load_sequence(dataroot, source, name), load_tracks(tables, name)))
    return scenes
