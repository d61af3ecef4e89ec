"""Recorded ticks: inputs by name, and what the reference made of them on the machine that packed the bundle. On the
target they tell whether its runtime computes the same, without data and without torch (deploy/orin/check.py).

One npz of plain arrays, named TICK/PART/NAME:

    00/in/rows               all that deploy.pipeline.tick_inputs tells
    00/out/forecast.rows     the outputs of the tick
    00/truth                 uint8 [H, 200, 200, 16], what really happened; not of every tick
    02/state/keys_0          at the end of a stretch: the state after the tick
    02/bucket                float64 [4], genie.buckets.BucketState to go on with

A stretch is a few ticks; the next one goes on from the recorded state. Its bucket is set so that each graph of a gated
bundle gets its turn: every bucket is an engine of its own, and an engine that never ran was not checked.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.errors import InputError
from calib.files import atomic_path
from deploy.graph_runtime import Runtime
from deploy.spec import CONFIDENCE, LINK, REFRESH, ROWS, STATE_IN, TRAJECTORY, Manifest
from genie.buckets import START, BucketState

if TYPE_CHECKING:
    from deploy.parity_stream import GivenTick

Array = np.ndarray[Any, Any]
GOLDEN_FILE = "golden.npz"
TICKS = 12
_OUTPUTS = (ROWS, TRAJECTORY, CONFIDENCE)


@dataclass(frozen=True)
class GoldenTick:
    """state: after the tick, at the end of a stretch; else empty. bucket: to go on with from there."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    state: dict[str, Array]
    bucket: BucketState
    truth: Array | None


class Recorded:
    """A recorded tick behind the Runtime protocol: it tells, it does not compute."""

    def __init__(self, tick: GoldenTick) -> None:
        self._tick = tick

    def reset(self) -> None:
        """Nothing: there is no stream to forget."""

    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._tick.outputs

    def state(self) -> dict[str, Array]:
        return self._tick.state

    def bucket(self) -> BucketState:
        return self._tick.bucket

    def adopt(self, other: Runtime) -> None:
        """Nothing: what was recorded stays."""


def record(path: Path, reference: Runtime, given: Iterable[GivenTick], ticks: int, manifest: Manifest) -> None:
    """Writes the golden file: what `reference` makes of the given ticks."""
    arrays: dict[str, Array] = {}
    ends = stretches(ticks, manifest)
    reference.reset()
    for t, (inputs, truth) in enumerate(given):
        outputs = {n: a.copy() for n, a in reference.tick(inputs).items()}
        held = ends.get(t)
        state = {} if held is None else {n: a.copy() for n, a in reference.state().items()}
        bucket = START if held is None else BucketState(held, held, 0, reference.bucket().since_refresh_s)
        tick = GoldenTick(inputs, outputs, state, bucket, truth)
        arrays |= _named(t, tick)
        if state:
            reference.adopt(Recorded(tick))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def stretches(ticks: int, manifest: Manifest) -> dict[int, int]:
    """The last tick of each stretch, and the bucket that the next one holds: from the second largest down, as all
    columns are computed at the start. 0 where there are no buckets."""
    gated = manifest.form == "gated"
    held = [*manifest.config.model.gate.buckets[-2::-1], 0] if gated else [0]
    return {max(round((i + 1) * ticks / len(held)) - 1, 0): size for i, size in enumerate(held)}


def read_golden(path: Path, manifest: Manifest) -> list[GoldenTick]:
    """All recorded ticks.

    Raises:
        InputError: the file is damaged, holds something else than plain arrays, or does not fit the graphs.
    """
    parts: defaultdict[str, dict[str, Array]] = defaultdict(dict)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                tick, _, rest = name.partition("/")
                parts[tick][rest] = arrays[name]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise _refused(path, f"cannot be read ({type(error).__name__}: {error})") from error
    if not parts:
        raise _refused(path, "no ticks in it")
    return [_tick_of(parts[name], manifest, path) for name in sorted(parts)]


def _named(t: int, tick: GoldenTick) -> dict[str, Array]:
    groups = {"in": tick.inputs, "out": tick.outputs, "state": tick.state}
    named = {f"{t:02d}/{part}/{n}": a for part, group in groups.items() for n, a in group.items()}
    if tick.state:
        named[f"{t:02d}/bucket"] = np.array(tick.bucket, np.float64)
    if tick.truth is not None:
        named[f"{t:02d}/truth"] = tick.truth
    return named


def _tick_of(parts: dict[str, Array], manifest: Manifest, path: Path) -> GoldenTick:
    specs = {s.name: s for graph in manifest.graphs.values() for s in (*graph.inputs, *graph.outputs)}
    produced = {s.name for graph in manifest.graphs.values() for s in graph.outputs}
    taken = [n for n in specs if n not in produced and n != REFRESH and not n.startswith((STATE_IN, LINK))]
    wanted = {f"in/{n}": specs[n] for n in taken} | {f"out/{n}": specs[n] for n in _OUTPUTS}
    if any(name.startswith("state/") for name in parts):
        wanted |= {f"state/{n}": s for n, s in manifest.state().items()}
    for name, spec in wanted.items():
        found = parts.get(name)
        if found is None or found.dtype != np.dtype(spec.dtype) or found.shape != spec.shape:
            told = "missing" if found is None else f"{found.dtype} {found.shape}"
            raise _refused(path, f"{name} is {told}", f"{spec.dtype} {spec.shape}, as the manifest says")
    groups: dict[str, dict[str, Array]] = {part: {} for part in ("in", "out", "state")}
    for name, array in parts.items():
        part, _, rest = name.partition("/")
        if rest:
            groups[part][rest] = array
    bucket = START
    if "bucket" in parts:
        held = parts["bucket"]
        bucket = BucketState(int(held[0]), int(held[1]), int(held[2]), float(held[3]))
    return GoldenTick(groups["in"], groups["out"], groups["state"], bucket, parts.get("truth"))


def _refused(path: Path, found: str, expected: str = "recorded ticks of this very bundle") -> InputError:
    return InputError(found, expected=expected, fix="pack the bundle again with `geniedrive bundle`", path=path)
