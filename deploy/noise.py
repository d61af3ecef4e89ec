"""What a change gate is not to be surprised by where occupancy is perceived: learned, by distance from the ego.

Where nothing has changed, perceived voxels still differ from those that were perceived when a column was computed. In
how many words of a column, is measured along streams in the columns that the gate leaves alone when it is told the
truth. That many are no surprise (GateConfig.noise_words). What moves, comes, goes or is small is told by objects, and
is a surprise as ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from calib.errors import InputError
from calib.files import write_json
from genie.data.sequence import Sequence
from genie.gate import NOISE_RING_M, Selection, ring_of_columns
from genie.gated_stream import gated_moments, observed
from genie.model import GenieDrive
from perception.checkpoint import checkpoint_path
from perception.types import Occupancy, SensorFrame

FORMAT = "geniedrive-noise-1"
RINGS = 6  # to the corners of the grid
QUIET = 0.97  # of the columns in which nothing changes shall be left alone
PASSES = 3  # what is left alone longer has an older reference, which differs more: learned with what was learned


class Noise(NamedTuple):
    """words: GateConfig.noise_words. learned_on: of which data and how much, for people."""

    words: tuple[float, ...]
    learned_on: str


class PerceivedStream(NamedTuple):
    """A stream, and what perception told at each of its frames."""

    truth: Sequence
    perceived: UInt8[NDArray[np.uint8], "T X Y Z"]

    def frames(self) -> Iterator[SensorFrame]:
        """As perceived."""
        for t, semantics in enumerate(self.perceived):
            frame = self.truth.frame(t)
            yield SensorFrame(frame.stamp_us, frame.world_from_ego, Occupancy(semantics, source="perception"))


def learn_noise(model: GenieDrive, streams: list[PerceivedStream]) -> Noise:
    """Of streams that perception was not trained on.

    Raises:
        ValueError: there are none.
    """
    if not streams:
        raise ValueError("no streams to learn from")
    ring = ring_of_columns(RINGS, torch.device("cpu"))
    quiet = [[s.changed < 0.5 for s in selections(model, _true_frames(stream.truth))] for stream in streams]
    words = model.config.gate.noise_words
    for _ in range(PASSES):
        told = with_noise(model, words)
        found: list[list[Tensor]] = [[] for _ in range(RINGS)]
        for stream, still in zip(streams, quiet, strict=True):
            for selection, alone in zip(selections(told, stream.frames()), still, strict=True):
                known = alone & (selection.columns.filled > 0.5)
                differ = surprising_words(selection)
                for index in range(RINGS):
                    found[index].append(differ[known & (ring == index)])
        words = tuple(_allowed(torch.cat(part), model.config.gate.surprise_above) for part in found)
    count = sum(len(stream.perceived) for stream in streams)
    return Noise(words, f"{count} frames of {len(streams)} streams")


def _allowed(words: Float[Tensor, " n"], surprise_above: float) -> float:
    if not len(words):
        return 0.0
    return max(0.0, float(np.quantile(words.numpy(), QUIET, method="higher")) + 1.0 - surprise_above)


def surprising_words(selection: Selection) -> Float[Tensor, " N"]:
    """How many words of each column contradict what was expected."""
    return torch.expm1(selection.features[:, 0]).round()


def with_noise(model: GenieDrive, words: tuple[float, ...]) -> GenieDrive:
    """The same weights, with a gate that allows for noise."""
    gate = replace(model.config.gate, noise_words=words)
    told = GenieDrive(replace(model.config, gate=gate))
    told.load_state_dict(model.state_dict())
    return told.eval()


def selections(model: GenieDrive, frames: Iterable[SensorFrame]) -> Iterator[Selection]:
    """What the gate selects along a stream."""
    with torch.inference_mode():
        for moment in gated_moments(model, observed(frames)):
            yield moment.selection


def _true_frames(stream: Sequence) -> Iterator[SensorFrame]:
    return (stream.frame(t) for t in range(len(stream)))


def write_noise(path: Path, noise: Noise) -> None:
    told = {"format": FORMAT, "ring_m": NOISE_RING_M, "words": list(noise.words), "learned_on": noise.learned_on}
    write_json(path, told)


def read_noise(spec: Path | str) -> Noise:
    """A file, or that of the shipped weights of perception by their name.

    Raises:
        InputError: no such file, or not what `write_noise` wrote.
    """
    path = checkpoint_path(spec)
    path = path.with_name("noise.json") if path.suffix == ".safetensors" else path
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        words = tuple(float(w) for w in told["words"])
        good = told["format"] == FORMAT and told["ring_m"] == NOISE_RING_M and words and min(words) >= 0
        noise = Noise(words, str(told["learned_on"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"no noise of perception ({type(error).__name__}: {error})",
            expected=f"a file of format {FORMAT}",
            fix="name shipped weights (perception), or make one: python tools/learn_noise.py",
            path=path,
        ) from error
    if not good:
        raise InputError(
            f"format {told['format']!r}, rings of {told['ring_m']} m, words {words}",
            expected=f"{FORMAT!r}, rings of {NOISE_RING_M} m, words of at least 0",
            fix="make it again with this version: python tools/learn_noise.py",
            path=path,
        )
    return noise
