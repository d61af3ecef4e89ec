"""Which frames INT8 calibration sees: of every kind of event and every speed, from every scene, the same every time.

What an activation's range is measured on decides what it clips. Frames drawn at random from a drive are mostly of a car
that goes straight at one speed, and show neither a turn nor the first tick. numpy only: what is known of the frames
comes as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from calib.errors import InputError
from calib.files import write_json

SCHEMA = 1
SPEEDS_M_S = (0.5, 4.0, 8.0, 12.0)  # between the bands
NOTHING = "nothing"  # the kind of a frame in which nothing happens


@dataclass(frozen=True)
class FrameFacts:
    """A frame that can be chosen. frame: its index in the scene. kinds: of the events that show in it, sorted."""

    scene: str
    frame: int
    stamp_us: int
    speed_m_s: float
    kinds: tuple[str, ...] = ()

    @property
    def strata(self) -> tuple[tuple[str, int], ...]:
        """Kind and speed band; one for each kind."""
        band = int(np.searchsorted(SPEEDS_M_S, self.speed_m_s, side="right"))
        return tuple((kind, band) for kind in self.kinds or (NOTHING,))


def choose_frames(frames: Sequence[FrameFacts], count: int) -> list[FrameFacts]:
    """`count` of the frames, in the order of scenes and time; equal facts give equal choices.

    The strata (kind of event by speed band) take turns, the rarest first. Each takes from the scene that has given
    least, and there the frame farthest in time from those taken already.

    Raises:
        InputError: fewer frames than `count`, or two of the same scene and index.
    """
    if not 1 <= count <= len(frames):
        raise InputError(
            f"{len(frames)} frames to choose {count} from",
            expected="at least as many frames as are chosen, and one or more",
            fix="calibrate on more scenes, or choose fewer frames",
        )
    if len({(f.scene, f.frame) for f in frames}) < len(frames):
        raise InputError("a frame is listed twice", expected="each frame once", fix="list each scene once")
    ordered = sorted(frames, key=lambda f: (f.scene, f.frame))
    scene = np.unique([f.scene for f in ordered], return_inverse=True)[1]
    at = np.array([f.frame for f in ordered])
    strata: dict[tuple[str, int], list[int]] = {}
    for index, frame in enumerate(ordered):
        for stratum in frame.strata:
            strata.setdefault(stratum, []).append(index)
    turns = [np.array(strata[s]) for s in sorted(strata, key=lambda s: (len(strata[s]), s))]
    taken, given = np.zeros(len(at), bool), np.zeros(scene.max() + 1, np.int64)
    apart = at + 1  # frames to the nearest of the scene that is taken
    while True:
        for members in turns:
            free = members[~taken[members]]
            if not len(free):
                continue
            best = free[np.lexsort([free, -apart[free], given[scene[free]]])[0]]
            taken[best] = True
            given[scene[best]] += 1
            same = scene == scene[best]
            apart[same] = np.minimum(apart[same], np.abs(at[same] - at[best]))
            if taken.sum() == count:
                return [frame for frame, chosen in zip(ordered, taken, strict=True) if chosen]


def write_frames(path: Path, frames: Sequence[FrameFacts], sources: dict[str, str]) -> None:
    """What was calibrated on, as JSON. sources: sha256 of each scene's file, by scene."""
    write_json(path, {"schema": SCHEMA, "sources": sources, "frames": [asdict(frame) for frame in frames]})
