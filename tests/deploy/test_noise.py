"""A gate that knows how perceived voxels flicker: it is quieter where they do, and sees what truly changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from deploy.export import export
from deploy.noise import RINGS, Noise, PerceivedStream, learn_noise, read_noise, selections, with_noise, write_noise
from deploy.pipeline import Pipeline
from genie.data.sequence import Sequence
from genie.model import GenieDrive
from perception.types import CLASS_NAMES, FREE, GRID

MANMADE, VEGETATION = CLASS_NAMES.index("manmade"), CLASS_NAMES.index("vegetation")


def distance() -> np.ndarray:
    x, y = np.meshgrid(*(GRID.origin[a] + (np.arange(200) + 0.5) * 0.4 for a in range(2)), indexing="ij")
    return np.hypot(x, y)


@pytest.fixture(scope="module")
def short(stream: Sequence) -> Sequence:
    first = slice(0, 12)
    return replace(
        stream,
        semantics=stream.semantics[first],
        timestamp_us=stream.timestamp_us[first],
        world_from_ego=stream.world_from_ego[first],
    )


def flickering(stream: Sequence, seed: int = 0) -> PerceivedStream:
    """Beyond 20 m, one voxel of fifty is there in one frame and not in another, above all that stands."""
    rng = np.random.default_rng(seed)
    perceived = stream.semantics.copy()
    for frame in perceived:
        some = (rng.random(GRID.shape) < 0.02) & (distance()[..., None] > 20.0)
        some[..., :12] = False
        frame[some & (frame == FREE)] = VEGETATION
    return PerceivedStream(stream, perceived)


@pytest.fixture(scope="module")
def noise(model: GenieDrive, short: Sequence) -> Noise:
    return learn_noise(model, [flickering(short)])


def test_it_learns_where_voxels_flicker(noise: Noise, short: Sequence) -> None:
    assert len(noise.words) == RINGS and noise.learned_on == f"{len(short)} frames of 1 streams"
    assert noise.words[0] < 0.5 * min(noise.words[3:]) and max(noise.words) < 16, noise.words


def test_what_flickers_is_left_alone_and_what_changes_is_computed(
    model: GenieDrive, short: Sequence, noise: Noise
) -> None:
    """On frames that flicker otherwise. In the last one a house stands where nothing stood."""
    other = flickering(short, seed=1)
    last = other.perceived[-1]
    house = np.zeros(GRID.shape, bool)
    house[150:166, 120:136, 2:10] = True
    last[house & (last == FREE)] = MANMADE
    without, with_it = (list(selections(m, other.frames())) for m in (model, with_noise(model, noise.words)))
    needed = [[int(s.needed) for s in told[2:]] for told in (without, with_it)]
    assert sum(needed[1]) < 0.5 * sum(needed[0]), needed
    columns = np.zeros((50, 50), bool)
    columns[150 // 4 + 1 : 166 // 4 - 1, 120 // 4 + 1 : 136 // 4 - 1] = True
    assert with_it[-1].changed.numpy().reshape(50, 50)[columns].all()


def test_an_export_has_it(checkpoint: Path, bundle: Path, short: Sequence, noise: Noise, tmp_path: Path) -> None:
    """And tells so; its gate then asks for less than that of an export without."""
    write_noise(tmp_path / "noise.json", noise)
    assert read_noise(tmp_path / "noise.json") == noise
    told = export(checkpoint, tmp_path / "quiet", noise=read_noise(tmp_path / "noise.json"))
    assert told.manifest.config.model.gate.noise_words == noise.words
    needed = []
    for folder in (bundle, told.folder):
        pipeline, count = Pipeline(folder, threads=1), 0
        for t, frame in enumerate(flickering(short, seed=2).frames()):
            pipeline.step(frame)
            count += pipeline.runtime.bucket().needed if t > 1 else 0
        needed.append(count)
    assert needed[1] < 0.5 * needed[0], needed


def test_other_files_are_refused(noise: Noise, tmp_path: Path) -> None:
    path = tmp_path / "noise.json"
    with pytest.raises(InputError, match="no noise of perception"):
        read_noise(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="KeyError"):
        read_noise(path)
    write_noise(path, noise._replace(words=(-1.0,)))
    with pytest.raises(InputError, match="at least 0"):
        read_noise(path)


def test_without_noise_nothing_is_allowed_for(model: GenieDrive) -> None:
    """GateConfig as it comes: the gate of occupancy that is known."""
    assert model.config.gate.noise_words == (0.0,)
    assert with_noise(model, (0.0,)).config == model.config


def test_that_of_the_shipped_weights_is_there() -> None:
    """By their name, as `geniedrive export --noise perception` reads it."""
    words = read_noise("perception").words
    assert len(words) == RINGS and min(words) >= 0 and 1 <= max(words) <= 32
