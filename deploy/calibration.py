"""The ticks that INT8 calibration sees: frames of a data root, chosen by what happens in them (calib/int8.py), each
after all that its stream has shown before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from calib.errors import InputError
from calib.int8 import FrameFacts, choose_frames, write_frames
from calib.transforms import inverse, planar
from deploy.bundle_files import sha256_of
from deploy.graphs import gated_graphs
from deploy.pipeline import tick_inputs
from deploy.torch_runtime import TorchRuntime
from genie.data.scenes import list_scenes
from genie.data.sequence import Sequence
from genie.data.stream import load_stream
from genie.model import GenieDrive
from genie.observation import observe, start_observer

FRAMES = 64
CALIBRATION_FILE = "calibration.json"
START, TURNS, STANDS = "start", "ego_turns", "ego_stands"
TURNS_ABOVE, STANDS_BELOW = 0.1, 0.2  # rad/s, m/s
SHOWS_FOR_US = 500_000  # an event


@dataclass(frozen=True)
class Calibration:
    """frames: the chosen ones of `dataroot`, in order."""

    dataroot: Path
    frames: tuple[FrameFacts, ...]

    def write(self, path: Path) -> str:
        """Writes which frames of which files. Returns the sha256 of what was written."""
        scenes = sorted({frame.scene for frame in self.frames})
        files = {scene: sha256_of(self.dataroot / "stream" / f"{scene}.npz") for scene in scenes}
        write_frames(path, self.frames, files)
        return sha256_of(path)


def choose_calibration(dataroot: Path | None, count: int = FRAMES) -> Calibration:
    """Frames of all 10 Hz streams of a data root.

    Raises:
        InputError: no data root, no streams in it, or fewer frames than `count`.
    """
    if dataroot is None:
        raise InputError(
            "int8 without calibration data",
            expected="a data root whose frames show the ranges of all activations: random ones are worse than none",
            fix="give --calibration DATAROOT, e.g. one that `geniedrive data synth` wrote",
        )
    scenes = (load_stream(dataroot, name) for name in list_scenes(dataroot, "stream"))
    facts = [fact for scene in scenes for fact in facts_of(scene, Path(dataroot))]
    return Calibration(Path(dataroot), tuple(choose_frames(facts, count)))


def facts_of(scene: Sequence, dataroot: Path) -> list[FrameFacts]:
    """Of every frame: how fast the ego is, and what happens. Events come from the data root's events/, where it has
    any; a start, a turn and a stand of the ego are read off its poses."""
    seconds = (scene.timestamp_us - scene.timestamp_us[0]) * 1e-6
    steps = planar(inverse(scene.world_from_ego[:-1]) @ scene.world_from_ego[1:])
    rates = np.abs(steps) / np.diff(seconds)[:, None] if len(scene) > 1 else np.zeros((1, 3))
    rates = np.concatenate([rates[:1], rates])
    speed = np.hypot(rates[:, 0], rates[:, 1])
    kinds: list[set[str]] = [set() for _ in seconds]
    kinds[0].add(START)
    for t in range(len(scene)):
        kinds[t] |= {TURNS} if rates[t, 2] > TURNS_ABOVE else set()
        kinds[t] |= {STANDS} if speed[t] < STANDS_BELOW else set()
    stamps = scene.timestamp_us
    for kind, since in _events(dataroot / "events" / f"{scene.name}.json"):
        for t in np.flatnonzero((stamps >= since) & (stamps < since + SHOWS_FOR_US)):
            kinds[t].add(kind)
    return [
        FrameFacts(scene.name, t, int(stamps[t]), float(speed[t]), tuple(sorted(kinds[t]))) for t in range(len(scene))
    ]


def _events(path: Path) -> list[tuple[str, int]]:
    """Kind and stamp (us) of each; none where there is no such file."""
    if not path.is_file():
        return []
    try:
        return [(str(e["kind"]), int(e["timestamp"])) for e in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"not a list of events ({type(error).__name__}: {error})",
            expected="kind and timestamp of each, as `geniedrive data synth` writes them",
            fix="make the data again, or remove the file",
            path=path,
        ) from error


class _Recording(TorchRuntime):
    """Remembers what the last graph was given: of a gated tick, that of its bucket."""

    def _run(self, name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.given = name, {n: given[n] for n in self._graphs[name].inputs}
        return super()._run(name, given)


def chosen_ticks(model: GenieDrive, calibration: Calibration) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Name and inputs of the graph that ticks at each chosen frame, of `model` in full precision. Each scene is run
    from its beginning, as on the car, and the model expects its own trajectory."""
    runtime = _Recording(model)
    for name in sorted({frame.scene for frame in calibration.frames}):
        scene = load_stream(calibration.dataroot, name)
        wanted = [frame.frame for frame in calibration.frames if frame.scene == name]
        runtime.reset()
        observer = start_observer()
        for t in range(wanted[-1] + 1):
            seen, observer = observe(scene.frame(t), observer)
            runtime.tick(tick_inputs(seen, None))
            if t in wanted:
                yield runtime.given


def run_ticks(model: GenieDrive, ticks: Iterable[tuple[str, dict[str, Tensor]]]) -> None:
    """Runs the graphs of a model on the ticks that were chosen."""
    modules = {graph.name: graph.module for graph in gated_graphs(model)}
    for name, given in ticks:
        modules[name](*given.values())
