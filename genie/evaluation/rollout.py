"""The one evaluation loop: a forecaster, scenes and a protocol in; confusion tables per horizon out.

Targets are counted in frames, as the published protocols do it: horizon h is the h-th keyframe (2 Hz) or the 5h-th
frame (10 Hz) after the present; real stamps are off by up to 0.1 s, and up to 0.25 s at a dropped sweep. In keyframe
protocols the forecaster is reset for each window and sees its frames alone; in those of streams it sees the frames of
the scene in order, as on the car.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import inverse, planar
from genie.baselines import ConstantVelocityForecaster
from genie.command import command_of
from genie.data.scenes import Scene
from genie.data.sequence import Sequence
from genie.data.tracks import Boxes, SceneTracks
from genie.data.windows import STREAMS, windows
from genie.evaluation.moving import moving_boxes, moving_region
from genie.forecaster import Forecaster, ForecastResult
from perception.metrics import CONVENTIONS, ConfusionTable, Convention, confusion_table
from perception.types import HORIZONS_S, NUM_CLASSES

Ego = Literal["given", "commanded", "predicted"]


class WindowResult(NamedTuple):
    """One forecast and what to hold it against.

    t:        the present frame of `sequence`.
    horizons: seconds [H].
    targets:  the frame of `sequence` that each horizon is scored against [H].
    tracks:   annotated boxes of the scene, or None.
    """

    sequence: Sequence
    t: int
    horizons: tuple[float, ...]
    forecast: ForecastResult
    targets: tuple[int, ...]
    tracks: SceneTracks | None


@dataclass(frozen=True)
class HorizonTables:
    """Confusion tables [18, 18] of one horizon: everywhere, and in the moving region (None without annotations)."""

    everywhere: ConfusionTable
    moving: ConfusionTable | None

    @property
    def static(self) -> ConfusionTable | None:
        """Outside the moving region."""
        return None if self.moving is None else self.everywhere - self.moving


@dataclass(frozen=True)
class Evaluation:
    """What a forecaster did on a data set: counts only; genie.evaluation.report reads scores off them."""

    model: str
    source: str
    protocol: str
    ego: Ego
    convention: Convention
    scenes: tuple[str, ...]
    windows: int
    tables: dict[float, HorizonTables]


def source_of(protocol: str) -> str:
    """Which labels a protocol counts: "stream" (10 Hz) or "occ3d" (2 Hz keyframes)."""
    return "stream" if protocol in STREAMS else "occ3d"


def evaluate(
    forecaster: Forecaster,
    scenes: Iterable[Scene],
    protocol: str,
    *,
    ego: Ego = "given",
    convention: Convention = "present",
    on_window: Callable[[WindowResult], None] | None = None,
) -> Evaluation:
    """Forecasts every window of the scenes and counts.

    Args:
        scenes: read one at a time, in order.
        protocol: a name of genie.data.windows.
        ego: "given": the true future poses; the others let the forecaster use its own trajectory: "commanded" tells it
            left, straight or right, as the true one goes (genie.command), "predicted" tells nothing.
        convention: of the mean; kept with the result.
        on_window: called with each forecast.

    Raises:
        InputError: unknown protocol, ego mode or convention; no window fits; an oracle without annotations.
    """
    _check_choice("ego mode", ego, get_args(Ego))
    _check_choice("convention", convention, CONVENTIONS)
    totals = [_Totals() for _ in HORIZONS_S]
    names, annotated, count = [], True, 0
    for scene in scenes:
        names.append(scene.sequence.name)
        annotated &= scene.tracks is not None
        boxes_at = None if scene.tracks is None else functools.cache(_moving_at(scene.tracks))
        for result in _forecasts(forecaster, scene, protocol, ego):
            count += 1
            for total, semantics, target in zip(totals, result.forecast.semantics, result.targets, strict=True):
                total.add(scene.sequence, result.t, target, semantics, boxes_at)
            if on_window is not None:
                on_window(result)
    if not count:
        raise InputError(
            f"no window of protocol {protocol} in {len(names)} scenes",
            expected="scenes that last beyond the observed frames and 3 s",
            fix="choose longer scenes or a protocol that observes less",
        )
    tables = {
        h: HorizonTables(total.everywhere, total.moving if annotated else None)
        for h, total in zip(HORIZONS_S, totals, strict=True)
    }
    return Evaluation(forecaster.name, source_of(protocol), protocol, ego, convention, tuple(names), count, tables)


class _Totals:
    """Sums of one horizon."""

    def __init__(self) -> None:
        self.everywhere: ConfusionTable = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
        self.moving: ConfusionTable = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)

    def add(
        self,
        sequence: Sequence,
        t: int,
        target: int,
        semantics: NDArray[np.uint8],
        moving_at: Callable[[int], Boxes] | None,
    ) -> None:
        truth = sequence.semantics[target]
        self.everywhere += confusion_table(truth, semantics)
        if moving_at is not None:
            moving = [moving_at(int(sequence.timestamp_us[i])) for i in (t, target)]
            region = moving_region(moving, inverse(sequence.world_from_ego[target]))
            self.moving += confusion_table(truth, semantics, region)


def _moving_at(tracks: SceneTracks) -> Callable[[int], Boxes]:
    return lambda stamp_us: moving_boxes(tracks.at(stamp_us))


def _forecasts(forecaster: Forecaster, scene: Scene, protocol: str, ego: Ego) -> Iterator[WindowResult]:
    sequence = scene.sequence
    if isinstance(forecaster, ConstantVelocityForecaster):
        forecaster.begin(sequence, scene.tracks)
    forecaster.reset()
    step, seen = _frames_per_horizon(sequence, protocol), 0
    for window in windows(protocol, len(sequence)):
        if protocol not in STREAMS:
            forecaster.reset()
            seen = window.first
        for t in filter(window.observes, range(seen, window.present + 1)):
            forecaster.observe(sequence.frame(t))
        seen = window.present + 1
        targets = tuple(window.present + step * (h + 1) for h in range(len(HORIZONS_S)))
        given = inverse(sequence.world_from_ego[window.present]) @ sequence.world_from_ego[list(targets)]
        told = {"given": given, "commanded": command_of(planar(given)), "predicted": None}[ego]
        forecast = forecaster.forecast(told)
        yield WindowResult(sequence, window.present, HORIZONS_S, forecast, targets, scene.tracks)


def _frames_per_horizon(sequence: Sequence, protocol: str) -> int:
    """5 in a 10 Hz stream, 1 among keyframes.

    Raises:
        InputError: the frames of the sequence are not so far apart.
    """
    step = 5 if protocol in STREAMS else 1
    wanted = HORIZONS_S[0] / step
    found = float(np.median(np.diff(sequence.timestamp_us))) * 1e-6 if len(sequence) > 1 else wanted
    if not 0.8 * wanted < found < 1.25 * wanted:
        raise InputError(
            f"frames {found:.2f} s apart",
            expected=f"{wanted:g} s: protocol {protocol} counts frames",
            fix="choose a protocol of this source, or resample the labels",
            path=sequence.source,
        )
    return step


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{what} {value!r}", expected=", ".join(choices), fix="choose one of these")
