"""What parity is checked on: a recorded stream, or a synthetic one of its own that needs no data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import inverse, se3_from_xyz_yaw
from deploy.pipeline import tick_inputs
from genie.command import Command
from genie.data.sequence import Sequence
from genie.data.stream import load_stream
from genie.data.synth.config import STREAM_HZ, SynthConfig
from genie.data.synth.rasterise import rasterise
from genie.data.synth.world import scene_world
from genie.observation import observe, start_observer
from genie.training.targets import future_frame
from perception.types import HORIZONS_S


class Truth(NamedTuple):
    """semantics uint8 [H, 200, 200, 16] in the true future ego frames; plan float64 [H, 4, 4], ego_from_future."""

    semantics: NDArray[np.uint8]
    plan: NDArray[np.float64]


def parity_stream(dataroot: Path | None, scene: str | None, ticks: int) -> Sequence:
    """A recorded 10 Hz scene of `dataroot`, or without one the synthetic town of seed 0.

    Raises:
        InputError: no such scene, or a data root without a scene or the reverse.
    """
    if (dataroot is None) != (scene is None):
        raise InputError(
            "only one of --dataroot and --scene", expected="both or neither", fix="name the scene and its data root"
        )
    if dataroot is not None and scene is not None:
        return load_stream(dataroot, scene)
    config = SynthConfig(scenes=1, seconds=ticks / STREAM_HZ + HORIZONS_S[-1], seed=0)
    world = scene_world(config, 0)
    seconds = np.arange(config.frames) / STREAM_HZ
    poses = [world.ego(t) for t in seconds]
    return Sequence(
        name="synthetic",
        semantics=np.stack([rasterise(world, t) for t in seconds]),
        timestamp_us=np.round(seconds * 1e6).astype(np.int64),
        world_from_ego=se3_from_xyz_yaw(np.stack([p.xyz for p in poses]), np.array([p.yaw for p in poses])),
        source=Path("synthetic"),
    )


class GivenTick(NamedTuple):
    """inputs: of the network, by name. truth: uint8 [H, 200, 200, 16], the truth where it was the plan."""

    inputs: dict[str, np.ndarray[Any, Any]]
    truth: NDArray[np.uint8] | None


def given_ticks(stream: Sequence, ticks: int) -> Iterator[GivenTick]:
    """The first `ticks` frames through the one preprocessing. Every other tick is given the true plan; in between the
    model expects its own, after each command in turn.

    Raises:
        InputError: the stream is too short.
    """
    check_length(stream, ticks)
    observer, commands = start_observer(), (*Command, None)
    for t in range(ticks):
        scene, observer = observe(stream.frame(t), observer)
        truth = true_future(stream, t) if t % 2 == 0 else None
        inputs = tick_inputs(scene, truth.plan if truth else commands[t // 2 % len(commands)])
        yield GivenTick(inputs, truth.semantics if truth else None)


def check_length(stream: Sequence, ticks: int) -> None:
    """Raises InputError unless there are `ticks` frames and a true future at least of the first."""
    if not 1 <= ticks <= len(stream) or true_future(stream, 0) is None:
        raise InputError(
            f"{len(stream)} frames in {stream.name} for {ticks} ticks",
            expected=f"as many frames as ticks (1 or more), and {HORIZONS_S[-1]:g} s after the first",
            fix="choose a longer scene, or another number of --ticks",
            path=stream.source,
        )


def true_future(stream: Sequence, t: int) -> Truth | None:
    """What happened after frame t; None near the end of the stream."""
    frames = [future_frame(stream, t, seconds) for seconds in HORIZONS_S]
    then = [f for f in frames if f is not None]
    if len(then) < len(frames):
        return None
    plan = inverse(stream.world_from_ego[t]) @ stream.world_from_ego[then]
    return Truth(stream.semantics[then], plan)
