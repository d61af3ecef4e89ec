"""What the benchmark drives through: scenes of a data root, or a synthetic town that needs none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from calib.errors import InputError
from deploy.bench import APART, Clip
from deploy.parity_stream import parity_stream
from genie.data.sequence import Sequence
from genie.data.stream import list_stream_scenes, load_stream

SYNTHETIC_TICKS = 200  # of the synthetic town, to see which buckets are taken


@dataclass(frozen=True)
class Streams:
    """name: for the report. short: the first frames of each scene, together as many as were asked for. dataroot: None
    for the synthetic town, which is all in `short`."""

    name: str
    short: list[Clip]
    dataroot: Path | None
    scenes: list[str]

    def whole(self) -> Iterator[Clip]:
        """Every frame, a scene at a time."""
        if self.dataroot is None:
            yield Clip(self.short[0].stream, len(self.short[0].stream))
            return
        for scene in self.scenes:
            stream = load_stream(self.dataroot, scene)
            yield Clip(stream, len(stream))


def bench_streams(
    dataroot: Path | None, scenes: str | None, ticks: int, label: str | None = None, *, least: int = 0
) -> Streams:
    """
    Args:
        scenes: names with commas between; None: all that there are.
        ticks: of all scenes together.
        least: frames of the synthetic town, if it is driven through.

    Raises:
        InputError: no such scene, one too short, or too few ticks for so many.
    """
    if dataroot is None:
        if scenes is not None:
            raise InputError("--scene without --dataroot", expected="both or neither", fix="name the data root")
        stream = parity_stream(None, None, max(ticks, least))
        return Streams(label or "synthetic town, seed 0", [Clip(stream, ticks)], None, [])
    names = scenes.split(",") if scenes else list_stream_scenes(dataroot)
    if not names:
        raise InputError("no scenes", expected="10 Hz streams in stream/", fix="check the data root", path=dataroot)
    each = ticks // len(names)
    if each <= APART:
        raise InputError(
            f"{ticks} ticks for {len(names)} scenes",
            expected=f"at least {APART + 1} for each, of which {APART} are told apart",
            fix="raise --ticks, or name fewer scenes",
        )
    short = [_first(load_stream(dataroot, name), each) for name in names]
    shown = f"{label or dataroot.resolve().name} ({len(names)} {'scenes' if len(names) > 1 else 'scene'}: "
    return Streams(shown + ", ".join(name.removeprefix("scene-") for name in names) + ")", short, dataroot, names)


def _first(stream: Sequence, ticks: int) -> Clip:
    """A copy, so that the other frames can go."""
    if ticks > len(stream):
        raise InputError(
            f"{len(stream)} frames in {stream.name} for {ticks} ticks",
            expected="as many frames as ticks",
            fix="choose a longer scene, or fewer --ticks",
            path=stream.source,
        )
    return Clip(
        replace(
            stream,
            semantics=stream.semantics[:ticks].copy(),
            timestamp_us=stream.timestamp_us[:ticks],
            world_from_ego=stream.world_from_ego[:ticks],
        ),
        ticks,
    )
