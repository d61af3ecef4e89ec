"""The window protocols of occupancy forecasting, by name: which frames are observed, which are predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from calib.errors import InputError

STREAM_STRIDE, STREAM_FUTURE = 10, 30  # in frames of 10 Hz


@dataclass(frozen=True)
class Window:
    """first: the first observed frame; present: the last observed frame. Forecasts follow `present`. every: frames from
    one observation to the next."""

    first: int
    present: int
    every: int = 1

    def observes(self, frame: int) -> bool:
        return self.first <= frame <= self.present and (self.present - frame) % self.every == 0


@dataclass(frozen=True)
class Protocol:
    """observed frames, then predicted ones.

    spare: frames beyond the window that the original code leaves unused. only_first: one window a scene.
    """

    name: str
    observed: int
    predicted: int
    spare: int = 0
    only_first: bool = False


# 2 Hz keyframes. Counts on the 150 validation scenes: 4219, 4519, 4669, 150.
PROTOCOLS: dict[str, Protocol] = {
    "occworld": Protocol("occworld", observed=5, predicted=6, spare=2),
    "i2world": Protocol("i2world", observed=5, predicted=6),
    "geniedrive": Protocol("geniedrive", observed=4, predicted=6),
    "dome": Protocol("dome", observed=4, predicted=6, only_first=True),
}


class StreamProtocol(NamedTuple):
    """10 Hz. first: the first present frame. every: frames from one observation to the next; the present one counts."""

    first: int
    every: int = 1


# "stream+5" is half a second later, for a method that needs a velocity at once; "stream-2hz" has the windows of
# "stream", but an observation only every half a second.
STREAMS = {"stream": StreamProtocol(0), "stream+5": StreamProtocol(5), "stream-2hz": StreamProtocol(0, every=5)}


def protocol_names() -> list[str]:
    return [*STREAMS, *PROTOCOLS]


def windows(protocol: str, length: int) -> list[Window]:
    """Windows of a scene of `length` frames.

    "stream" is for 10 Hz: t = 0, 10, 20, ... while t + 30 < length, everything before t observed; "stream+5" the same
    from t = 5; "stream-2hz" as "stream", every fifth frame observed.

    Raises:
        InputError: no protocol of that name.
    """
    if protocol in STREAMS:
        first, every = STREAMS[protocol]
        return [Window(0, t, every) for t in range(first, length - STREAM_FUTURE, STREAM_STRIDE)]
    if protocol not in PROTOCOLS:
        raise InputError(
            f"no protocol {protocol!r}", expected=", ".join(protocol_names()), fix="choose one of these names"
        )
    chosen = PROTOCOLS[protocol]
    count = length - chosen.observed - chosen.predicted - chosen.spare + 1
    starts = range(max(count, 0))
    return [Window(s, s + chosen.observed - 1) for s in (starts[:1] if chosen.only_first else starts)]
