"""The scenes of a data root by source: which there are, and each one's occupancy with its annotated tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from calib.errors import InputError
from genie.data.nuscenes import open_nuscenes
from genie.data.occ3d import list_labelled_scenes, load_keyframes
from genie.data.sequence import Sequence
from genie.data.stream import STREAM_FOLDERS, Style, apply_style, is_stream, list_stream_scenes, load_stream
from genie.data.tracks import SceneTracks, load_tracks

SOURCES = (*STREAM_FOLDERS, "occ3d")


class Scene(NamedTuple):
    """tracks is None where the data root has a stream but no annotation tables."""

    sequence: Sequence
    tracks: SceneTracks | None


def list_scenes(dataroot: Path | str, source: str) -> list[str]:
    """Scenes with labels of this source: "stream" or "stream-mini" (10 Hz files) or "occ3d" (2 Hz keyframes).

    Raises:
        InputError: unknown source, no such folder, or no scene in it.
    """
    dataroot = Path(dataroot)
    if source not in SOURCES:
        raise InputError(f"source {source!r}", expected=", ".join(SOURCES), fix="name one of these sources")
    if not dataroot.is_dir():
        raise InputError("no such folder", expected="a nuScenes data root", fix="check the path", path=dataroot)
    names = list_stream_scenes(dataroot, source) if is_stream(source) else list_labelled_scenes(dataroot)
    if not names:
        folder = STREAM_FOLDERS.get(source, "gts")
        layout = "SCENE.npz" if is_stream(source) else "SCENE/TOKEN/labels.npz"
        raise InputError(
            f"no {source} labels",
            expected=f"{folder}/{layout} under the data root",
            fix="check the path, choose another --source, or make data with `geniedrive data synth`",
            path=dataroot / folder,
        )
    return names


def choose_scenes(dataroot: Path | str, source: str, wanted: list[str] | None = None) -> list[str]:
    """The wanted scenes (None: all), each checked to be there.

    Raises:
        InputError: see `list_scenes`; or an unknown scene.
    """
    names = list_scenes(dataroot, source)
    for name in wanted or []:
        if name not in names:
            raise InputError(
                f"no scene {name!r} with {source} labels",
                expected=f"one of {', '.join(names)}",
                fix="choose from the scenes that are there",
                path=Path(dataroot),
            )
    return wanted or names


def load_scenes(
    dataroot: Path | str, source: str, names: list[str], style: Style = "as-is", version: str | None = None
) -> Iterator[Scene]:
    """The scenes, read one at a time: a 20 s stream is 130 MB.

    Raises:
        InputError: a file is absent, damaged or of another layout; names it.
    """
    dataroot = Path(dataroot)
    has_tables = any(dataroot.glob("v1.0-*"))
    nusc = open_nuscenes(dataroot, version) if source == "occ3d" or has_tables else None
    for name in names:
        if is_stream(source):
            sequence = load_stream(dataroot, name, style, source)
        else:
            sequence = load_keyframes(dataroot, name, nusc)
            sequence = replace(sequence, semantics=apply_style(sequence.semantics, style))
        yield Scene(sequence, load_tracks(nusc, name) if nusc is not None else None)
