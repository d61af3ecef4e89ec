"""Frames of gated streams are what the car computes and what truly comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calib.errors import InputError
from calib.transforms import inverse
from genie.config import ModelConfig
from genie.data.scenes import Scene, load_scenes
from genie.gated_forecaster import GatedForecaster
from genie.model import GenieDrive
from genie.training import stream_frames
from genie.training.stream_frames import EVERY, FIRST, KEPT, UNKNOWN, FrameArrays, StreamFrames, collect
from perception.types import GRID, HORIZONS_S

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scene(synth_root: Path) -> Scene:
    return next(iter(load_scenes(synth_root, "stream", ["scene-0001"])))


@pytest.fixture(scope="module")
def model() -> GenieDrive:
    torch.manual_seed(0)
    return GenieDrive(ModelConfig(width=32, heads=2, layers=1, history=1, invented=256, decoder_width=32)).eval()


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory, scene: Scene, model: GenieDrive) -> FrameArrays:
    """Not mirrored."""
    folder = tmp_path_factory.mktemp("frames") / "as-is"
    collect(model, scene, "as-is", folder, 0, 0)
    return FrameArrays(*(np.load(folder / f"{name}.npy") for name in FrameArrays._fields))


def test_tokens_are_those_of_the_stream_as_it_is_ticked_on_the_car(
    frames: FrameArrays, scene: Scene, model: GenieDrive
) -> None:
    instants = [t for t in range(FIRST, len(scene.sequence) - 30) if t % EVERY == 0]
    assert len(frames.tokens) == len(instants)
    car = GatedForecaster(model, "car", keep_evidence=False)
    for t in range(instants[1] + 1):
        car.observe(scene.sequence.frame(t))
    car.run_pending(None)
    np.testing.assert_array_equal(frames.tokens[1], car._state.tokens.half().numpy())


def test_what_is_kept_as_coming_is_what_a_later_frame_shows_there(frames: FrameArrays, scene: Scene) -> None:
    """Cell by cell, by poses in 3D."""
    t, checked = next(t for t in range(FIRST, 99) if t % EVERY == 0), 0
    sequence = scene.sequence
    for column in range(0, KEPT, 8):
        i, j = frames.position[0, column]
        xy = (np.array([i, j]) * 4 + 1.5) * GRID.voxel_size + GRID.origin[0]  # of the cell (1, 1) of the column
        for seconds in HORIZONS_S:
            then = t + round(seconds * 10)
            future_from_now = inverse(sequence.world_from_ego[then]) @ sequence.world_from_ego[t]
            there = (future_from_now @ np.array([*xy, 0.0, 1.0]))[:2]
            cell = np.floor((there - GRID.origin[0]) / GRID.voxel_size).astype(int)
            if ((cell >= 0) & (cell < 200)).all():
                np.testing.assert_array_equal(frames.truth[0, column, 5], sequence.semantics[then][tuple(cell)])
                checked += 1
                break
        else:
            assert (frames.truth[0, column, 5] == UNKNOWN).all()
    assert checked > 5


def test_a_mirrored_stream_is_the_same_world_seen_in_a_mirror(
    tmp_path: Path, frames: FrameArrays, scene: Scene, model: GenieDrive
) -> None:
    """Where what comes depends on no rounding at a cell's edge, which is nearly everywhere."""
    collect(model, scene, "as-is", tmp_path / "mirrored", 1, 0)
    other = FrameArrays(*(np.load(tmp_path / f"mirrored/{name}.npy") for name in FrameArrays._fields))
    np.testing.assert_allclose(other.displacement[..., 1:], -frames.displacement[..., 1:])
    seen = {tuple(p): row for p, row in zip(frames.position[0].tolist(), frames.truth[0], strict=True)}
    same = []
    for (i, j), row in zip(other.position[0].tolist(), other.truth[0], strict=True):
        here = seen.get((i, 49 - j))
        if here is not None and (here != UNKNOWN).all():
            flipped = row.reshape(4, 4, 16)[:, ::-1].reshape(16, 16)
            same.append((flipped == here).mean())
    assert len(same) > 10 and np.mean(same) > 0.95


def test_a_stream_that_was_cut_while_it_was_written_is_made_again(
    tmp_path: Path, scene: Scene, model: GenieDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = np.save

    def full_disk(path: Path, array: np.ndarray) -> None:
        if path.name == "truth.npy":
            raise OSError(28, "No space left on device", str(path))
        saved(path, array)

    monkeypatch.setattr(stream_frames.np, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        collect(model, scene, "as-is", tmp_path / "frames/one", 0, 0)
    monkeypatch.undo()
    assert not (tmp_path / "frames/one").exists()
    collect(model, scene, "as-is", tmp_path / "frames/one", 0, 0)
    batch = StreamFrames(tmp_path / "frames").sample(2, 16, np.random.default_rng(0))
    assert batch.tokens.shape == (2, 2500, 32) and batch.truth.shape == (2, 16, 16, 16)


def test_streams_that_are_too_short_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no frame to train on[\s\S]*train.frame_steps=0"):
        StreamFrames(tmp_path)
