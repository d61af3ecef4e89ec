"""Frames of gated streams, whole: all tokens, the objects and what becomes of them, and what will be seen where nothing
is yet.

Whole streams are ticked as on the car, with the caches that come of it. Every third frame is kept in files, which a
batch maps and reads a few rows of: a frame is 0.8 MB, and thousands are wanted.

Shapes: T frames of a stream, B of a batch, N = 2500 tokens, d channels, K objects, H horizons, R invented columns of
16 cells and 16 heights, G ring columns (genie/ring.py).
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from calib.errors import InputError
from genie.data.scenes import Scene, load_scenes
from genie.decoder import EXTENDED, PAD, choose_columns
from genie.gated_stream import gated_moments
from genie.grid import CELLS, COLUMNS, HEIGHT
from genie.inputs import model_inputs
from genie.model import GenieDrive
from genie.observation import ObservedScene
from genie.rows import as_voxels
from genie.training.annotated import annotate, derived_stream
from genie.training.batches import FLIP, mirror_scene
from genie.training.scenes import Cancellable
from genie.training.targets import TrainingScene, future_frame, prepare_scene
from perception.types import GRID, HORIZONS_S
from perception.workers import Workers

FIRST, EVERY = 10, 3  # frames: by then something is remembered; neighbours are alike
STYLES = ("as-is", "annotated")  # annotated: genie.training.annotated
KEPT = 256  # of the columns that a tick invents, of how many it is kept what they will show
UNKNOWN = 255  # class id of what is never seen


class FrameArrays(NamedTuple):
    """Of one stream, each a file. tokens float16 [T, N, d]; objects float32 [T, K, F]; ego_velocity float32 [T, 3];
    displacement float32 [T, H, K, 3]; known bool [T, H, K]; position int16 [T, R, 2], of invented columns, relative to
    the grid's corner; truth uint8 [T, R, 16, 16], what will be seen there, or UNKNOWN; standing, ground uint8
    [T, G, 16, 16], what goes on outwards (genie.inputs)."""

    tokens: NDArray[Any]
    objects: NDArray[Any]
    ego_velocity: NDArray[Any]
    displacement: NDArray[Any]
    known: NDArray[Any]
    position: NDArray[Any]
    truth: NDArray[Any]
    standing: NDArray[Any]
    ground: NDArray[Any]


class FrameBatch(NamedTuple):
    """FrameArrays of B frames as tensors, [B, ...]; class ids int32, positions int64."""

    tokens: Tensor
    objects: Tensor
    ego_velocity: Tensor
    displacement: Tensor
    known: Tensor
    position: Tensor
    truth: Tensor
    standing: Tensor
    ground: Tensor

    def to(self, device: torch.device) -> FrameBatch:
        return FrameBatch(*(part.to(device) for part in self))


def collect_frames(
    model: GenieDrive,
    dataroot: Path,
    source: str,
    names: list[str],
    folder: Path,
    team: Workers,
    cancel: Cancellable,
    *,
    seed: int = 0,
) -> None:
    """`collect` of all scenes, each worker its share; streams of a simulator also as annotated. Stops early when
    cancelled."""
    folder.mkdir(exist_ok=True)
    ticking = copy.deepcopy(model).cpu().eval()
    styles = STYLES if source == "stream" else STYLES[:1]
    for index in track(range(team.rank, len(names), team.count), "ticking streams", disable=not team.leads):
        if cancel.asked:
            break
        wanted = {style: folder / f"{names[index]}-{style}" for style in styles}
        if not all(path.is_dir() for path in wanted.values()):
            (scene,) = load_scenes(dataroot, source, [names[index]])
            for style, path in wanted.items():
                collect(ticking, scene, style, path, index, seed)
    team.wait()


def collect(model: GenieDrive, scene: Scene, style: str, folder: Path, index: int, seed: int) -> None:
    """Ticks a scene and writes its frames. What is there is not made again.

    Args:
        style: of STYLES; one of the two is mirrored, by turns.
        index: of the scene among all: what is random about it follows from this and the seed.

    Raises:
        InputError: the scene has no annotations.
    """
    if folder.is_dir():
        return
    if scene.tracks is None:
        raise InputError(
            f"{scene.sequence.name} has no annotations",
            expected="the v1.0-* tables beside the labels",
            fix="train on a data root with tables",
            path=scene.sequence.source,
        )
    sequence, tracks = scene.sequence, scene.tracks
    if style == "annotated":
        tracks = annotate(tracks, np.random.default_rng([seed, index, 0]))
        sequence = derived_stream(sequence, tracks)
    which = STYLES.index(style)
    rng = np.random.default_rng([seed, index, 1 + which])
    kept = list(_frames(model, prepare_scene(sequence, tracks), rng, mirrored=(index + which) % 2 == 1))
    if not kept:
        return
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, parts in zip(FrameArrays._fields, zip(*kept, strict=True), strict=True):
        np.save(draft / f"{name}.npy", np.stack(parts))
    draft.rename(folder)


def _frames(
    model: GenieDrive, prepared: TrainingScene, rng: np.random.Generator, *, mirrored: bool
) -> Iterator[FrameArrays]:
    seen = [_as_seen(mirror_scene(scene)) if mirrored else scene for scene in prepared.observed]
    with torch.inference_mode():
        for t, moment in enumerate(gated_moments(model, seen), start=-1):
            if t >= FIRST and t % EVERY == 0 and np.isfinite(prepared.trajectory[t]).all():
                flip = FLIP if mirrored else np.ones(3, np.float32)
                trajectory = prepared.trajectory[t] * flip
                position = _invented(trajectory, model.config.invented, rng)
                ring = model_inputs(seen[t])
                yield FrameArrays(
                    moment.state.tokens.half().numpy(),
                    seen[t].objects,
                    seen[t].ego_velocity,
                    prepared.displacement[t] * flip,
                    prepared.known[t],
                    position.astype(np.int16),
                    _coming(prepared, t, trajectory, position, mirrored=mirrored),
                    as_voxels(ring["border_standing"]),
                    as_voxels(ring["border_ground"]),
                )


def _as_seen(scene: ObservedScene) -> ObservedScene:
    """Tensors take no views that run backwards."""
    return scene._replace(
        semantics=np.ascontiguousarray(scene.semantics), object_id=np.ascontiguousarray(scene.object_id)
    )


def _invented(trajectory: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Some of the `count` columns that a tick invents on that way, [R, 2]."""
    chosen = choose_columns(torch.from_numpy(trajectory), count).numpy()
    position: NDArray[np.int64] = np.stack(np.divmod(chosen, EXTENDED), axis=-1) - PAD
    return position[rng.permutation(count)[:KEPT]]


def _coming(
    prepared: TrainingScene, t: int, trajectory: NDArray[np.float32], position: NDArray[np.int64], *, mirrored: bool
) -> NDArray[np.uint8]:
    """What columns outside the grid show at the first horizon that sees them, [R, 16, 16]."""
    within = np.stack(np.divmod(np.arange(CELLS * CELLS), CELLS), axis=-1)
    xy = (position[:, None] * CELLS + within + 0.5) * GRID.voxel_size + GRID.origin[0]
    truth = np.full((*xy.shape[:2], HEIGHT), UNKNOWN, np.uint8)
    missing = np.ones(xy.shape[:2], bool)
    for (x, y, yaw), seconds in zip(trajectory.astype(np.float64), HORIZONS_S, strict=True):
        then = future_frame(prepared.sequence, t, seconds)
        if then is None:
            continue
        semantics = prepared.sequence.semantics[then]
        semantics = semantics[:, ::-1] if mirrored else semantics
        dx, dy, cos, sin = xy[..., 0] - x, xy[..., 1] - y, np.cos(yaw), np.sin(yaw)
        there = np.stack([cos * dx + sin * dy, cos * dy - sin * dx], axis=-1)
        cell = np.floor((there - GRID.origin[0]) / GRID.voxel_size).astype(np.int64)
        sees = missing & ((cell >= 0) & (cell < COLUMNS * CELLS)).all(axis=-1)
        truth[sees] = semantics[cell[sees][:, 0], cell[sees][:, 1]]
        missing &= ~sees
    return truth


class StreamFrames:
    """All frames below a folder.

    Raises:
        InputError: there are none.
    """

    def __init__(self, folder: Path) -> None:
        streams = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if not streams:
            raise InputError(
                "no frame to train on",
                expected=f"streams that last 3 s beyond their frame {FIRST}",
                fix="train on longer scenes, or with train.frame_steps=0",
                path=folder,
            )
        self._streams = [
            FrameArrays(*(np.load(path / f"{name}.npy", mmap_mode="r") for name in FrameArrays._fields))
            for path in streams
        ]
        self._of = np.repeat(np.arange(len(streams)), [len(s.tokens) for s in self._streams])
        self._at = np.concatenate([np.arange(len(s.tokens)) for s in self._streams])

    def __len__(self) -> int:
        return len(self._of)

    def sample(self, count: int, columns: int, rng: np.random.Generator) -> FrameBatch:
        """Frames of random streams and instants, and in each so many of the invented columns, the same for all."""
        some = rng.permutation(self._streams[0].position.shape[1])[:columns]
        rows = []
        for chosen in rng.integers(len(self), size=count):
            row = FrameArrays(*(part[self._at[chosen]] for part in self._streams[self._of[chosen]]))
            rows.append(row._replace(position=row.position[some], truth=row.truth[some]))
        batch = FrameArrays(*(np.stack(parts) for parts in zip(*rows, strict=True)))
        ids = {name: getattr(batch, name).astype(np.int32) for name in ("truth", "standing", "ground")}
        batch = batch._replace(tokens=batch.tokens.astype(np.float32), position=batch.position.astype(np.int64), **ids)
        return FrameBatch(**{name: torch.from_numpy(part) for name, part in batch._asdict().items()})
