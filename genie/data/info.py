"""What a data root holds: scenes, labels, streams, windows per protocol and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genie.data.nuscenes import find_version, open_nuscenes, scene_names
from genie.data.occ3d import inventory, label_path, read_labels
from genie.data.stream import list_stream_scenes, load_stream
from genie.data.windows import PROTOCOLS, STREAMS, windows
from perception.types import NUM_CLASSES


@dataclass(frozen=True)
class SceneInfo:
    """Counts of one scene. stream_frames, mini_frames: of stream/ and stream-mini/, 0 where it has no such stream."""

    name: str
    keyframes: int
    labels: int
    stream_frames: int
    mini_frames: int = 0


@dataclass(frozen=True)
class DataInfo:
    """windows: per protocol, over the scenes whose every keyframe is labelled, or that have a stream.
    histogram: int64 [18], voxels per class in the labels; in one stream frame a second where a scene has no labels."""

    version: str
    scenes: tuple[SceneInfo, ...]
    windows: dict[str, int]
    histogram: NDArray[np.int64]


def inspect(
    dataroot: Path | str,
    version: str | None = None,
    track: Callable[[list[str]], Iterable[str]] = lambda names: names,
) -> DataInfo:
    """Reads every label and stream of a data root once.

    Args:
        track: wraps the scene names, for a progress bar.

    Raises:
        InputError: wrong data root, a missing or damaged table, or a damaged label; names the file.
    """
    dataroot = Path(dataroot)
    version = find_version(dataroot, version)
    nusc = open_nuscenes(dataroot, version)
    streams, minis = (set(list_stream_scenes(dataroot, source)) for source in ("stream", "stream-mini"))
    scenes = []
    histogram = np.zeros(NUM_CLASSES, np.int64)
    for name in track(sorted({*scene_names(nusc), *streams, *minis})):
        found, missing = [], []
        if name in scene_names(nusc):
            labels = inventory(nusc, name)
            found, missing = labels.found, labels.missing
        for token in found:
            path = label_path(dataroot, name, token)
            if path is not None:
                histogram += count_classes(read_labels(path).semantics)
        frames = 0
        if name in streams:
            semantics = load_stream(dataroot, name).semantics
            frames = len(semantics)
            if not found:
                histogram += count_classes(semantics[::10])
        mini_frames = len(load_stream(dataroot, name, source="stream-mini")) if name in minis else 0
        scenes.append(SceneInfo(name, len(found) + len(missing), len(found), frames, mini_frames))
    return DataInfo(version, tuple(scenes), count_windows(scenes), histogram)


def count_windows(scenes: Iterable[SceneInfo]) -> dict[str, int]:
    """Windows per protocol; a scene with a label missing has none."""
    scenes = list(scenes)
    labelled = [s.keyframes for s in scenes if s.labels == s.keyframes]
    counts = {p: sum(len(windows(p, length)) for length in labelled) for p in PROTOCOLS}
    return counts | {p: sum(len(windows(p, s.stream_frames)) for s in scenes) for p in STREAMS}


def count_classes(semantics: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels per class, int64 [18]."""
    return np.bincount(semantics.ravel(), minlength=NUM_CLASSES).astype(np.int64)
