"""The same stream through two runtimes, each with its own state: how far apart do they come?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deploy.graph_runtime import Array, Runtime
from deploy.spec import CONFIDENCE, ROWS, TRAJECTORY, ParityLimits
from genie.rows import as_voxels
from perception.metrics import ConfusionTable, confusion_table, mean_iou

if TYPE_CHECKING:
    from genie.data.sequence import Sequence

# Of a gated state (deploy.graphs.flatten): what was computed when, from what, and what was fused with what.
DECIDED = frozenset(
    [f"columns.{name}" for name in ("filled", "stale", "occupied", "held", "reference", "small", "moves")]
    + [f"memory.{name}" for name in ("stands_for", "moving")]
)

SAME = 1e-4  # by which what a slot holds may differ and still be that


@dataclass(frozen=True)
class Check:
    """Something measured beside what is allowed."""

    what: str
    found: float
    limit: float

    @property
    def passed(self) -> bool:
        """A NaN does not pass."""
        return self.found <= self.limit


@dataclass(frozen=True)
class Difference:
    """Of one output or state tensor: largest and mean absolute difference. The largest over the ticks of which nothing
    was decided otherwise, the mean over all ticks; of a state, of the rows about which nothing was."""

    name: str
    largest: float
    mean: float


@dataclass(frozen=True)
class ParityReport:
    """differences:      one for each output and state tensor but the voxels.
    decided_otherwise: share of the state's rows (columns, slots) about which rounding decided otherwise: computed in
        one and not in the other, or fused elsewhere. The candidate then goes on from the reference's state.
    differing_voxels: share of forecast voxels that are of another class.
    miou:             of the forecasts against the truth, in %: reference, candidate.
    tick_ms:          median of a tick: reference, candidate.
    """

    ticks: int
    differences: tuple[Difference, ...]
    decided_otherwise: float
    differing_voxels: float
    miou: tuple[float, float]
    tick_ms: tuple[float, float]

    def checks(self, limits: ParityLimits) -> list[Check]:
        by_name = {d.name: d for d in self.differences}
        trajectory, confidence = by_name.pop(TRAJECTORY), by_name.pop(CONFIDENCE)
        state, mean = (float(np.max([getattr(d, of) for d in by_name.values()])) for of in ("largest", "mean"))
        return [
            Check("state: largest difference", state, limits.state_max),
            Check("state: mean difference of a tensor", mean, limits.state_mean),
            Check("state: share of rows decided otherwise", self.decided_otherwise, limits.decided_otherwise),
            Check("trajectory: largest difference (m, rad)", trajectory.largest, limits.trajectory_max),
            Check("confidence: mean difference", confidence.mean, limits.confidence_mean),
            Check("forecast: share of differing voxels", self.differing_voxels, limits.differing_voxels),
            Check("forecast: difference in mIoU (points)", abs(self.miou[1] - self.miou[0]), limits.miou_difference),
        ]


def compare(
    reference: Runtime,
    candidate: Runtime,
    stream: Sequence,
    ticks: int,
    on_tick: Callable[[], None] = lambda: None,
) -> ParityReport:
    """Runs both from empty states over the first `ticks` frames, which both see through the one preprocessing.

    Every other tick is given the true plan; in between the model expects its own, after each command in turn.

    Raises:
        InputError: the stream is too short.
    """
    # Streams are training code; the rest of this file runs on the car, too (deploy/orin/check.py).
    from deploy.parity_stream import given_ticks

    reference.reset()
    candidate.reset()
    comparison = Comparison()
    for given in given_ticks(stream, ticks):
        expected, found = (run_tick(r, given.inputs) for r in (reference, candidate))
        if comparison.add(expected, found, given.truth):
            candidate.adopt(reference)
        on_tick()
    return comparison.report()


@dataclass(frozen=True)
class Ran:
    """Outputs and state of a tick, and how long it took."""

    outputs: Mapping[str, Array]
    state: Mapping[str, Array]
    ms: float


def run_tick(runtime: Runtime, inputs: Mapping[str, Array]) -> Ran:
    start = time.perf_counter()
    outputs = runtime.tick(inputs)
    return Ran(outputs, by_column(runtime.state()), (time.perf_counter() - start) * 1e3)


def by_column(state: Mapping[str, Array]) -> dict[str, Array]:
    """Keys and values in the order of the columns. A gated state has them by rank, and of columns that are hardly
    surprised at all rounding decides which comes first: no difference in what any column has."""
    row = state.get("row")
    cached = {n: v for n, v in state.items() if row is not None and n.startswith(("keys_", "values_"))}
    return {n: v[row] if n in cached else v for n, v in state.items() if n != "row"}


def _decided_otherwise(expected: Mapping[str, Array], found: Mapping[str, Array]) -> dict[str, Array]:
    """In which rows of a gated state something differs that is decided, not computed: of an integer, a flag or a count.
    By part, bool [rows]; of the dense state there are none."""
    rows = {"columns.": np.zeros(0, bool), "memory.": np.zeros(0, bool)}
    for name, value in expected.items():
        part = next((p for p in rows if name.startswith(p)), None)
        if part is None or name not in DECIDED:
            continue
        differs = (value != found[name]).reshape(len(value), -1).any(axis=1)
        rows[part] = differs | rows[part] if len(rows[part]) else differs
    if len(rows["memory."]):
        rows["memory."] = rows["memory."] | _exchanged(expected, found)
    return rows


def _alike(name: str, otherwise: Mapping[str, Array]) -> Array:
    """Of a state tensor, the rows about which nothing was decided otherwise; what is not of memory is of columns."""
    rows = otherwise["memory." if name.startswith("memory.") else "columns."]
    return ~rows if len(rows) else np.ones(1, bool)


def _exchanged(expected: Mapping[str, Array], found: Mapping[str, Array]) -> Array:
    """Which slots hold what another slot of the reference holds, [M]: two that came in the same tick took each other's.
    What no slot of the reference holds is computed otherwise, not decided."""
    holds, finds = (np.concatenate([s["memory.tokens"], s["memory.xy"]], axis=1) for s in (expected, found))
    out: Array = np.abs(holds - finds).max(axis=1) > SAME
    for slot in np.flatnonzero(out):
        out[slot] = (np.abs(holds - finds[slot]).max(axis=1) <= SAME).any()
    return out


@dataclass
class Comparison:
    """Sums over the ticks."""

    ticks: int = 0
    voxels: int = 0
    differing: int = 0
    rows: int = 0
    otherwise: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    mean: dict[str, float] = field(default_factory=dict)  # summed over the ticks
    ms: list[tuple[float, float]] = field(default_factory=list)
    tables: list[ConfusionTable] = field(default_factory=list)  # reference, candidate; horizons pooled

    def add(self, expected: Ran, found: Ran, truth: NDArray[np.uint8] | None) -> bool:
        """Takes a tick in. Returns whether something was decided otherwise, which no tolerance can measure.

        Args:
            truth: uint8 [H, 200, 200, 16], what the forecasts of both are scored against; None: not scored.
        """
        self.ticks += 1
        self.ms.append((expected.ms, found.ms))
        semantics = as_voxels(expected.outputs[ROWS]), as_voxels(found.outputs[ROWS])
        self.voxels += semantics[0].size
        self.differing += int(np.count_nonzero(semantics[0] != semantics[1]))
        for name in (TRAJECTORY, CONFIDENCE):
            self._add_floats(name, expected.outputs[name], found.outputs[name])
        rows = _decided_otherwise(expected.state, found.state)
        otherwise = sum(int(r.sum()) for r in rows.values())
        self.rows, self.otherwise = self.rows + sum(map(len, rows.values())), self.otherwise + otherwise
        for name, value in expected.state.items():
            self._add_floats(name, value, found.state[name], _alike(name, rows), largest=not otherwise)
        if truth is not None:
            tables = [confusion_table(truth, forecast) for forecast in semantics]
            self.tables = [a + b for a, b in zip(self.tables, tables, strict=True)] if self.tables else tables
        return otherwise > 0

    def _add_floats(
        self, name: str, expected: Array, found: Array, rows: Array | None = None, *, largest: bool = True
    ) -> None:
        difference = np.abs(expected - found)
        # np.maximum keeps a NaN; max() may lose it.
        most = difference.max() if largest else 0.0
        self.largest[name] = float(np.maximum(self.largest.get(name, 0.0), most))
        some = difference if rows is None else difference[np.broadcast_to(rows, len(difference))]
        self.mean[name] = self.mean.get(name, 0.0) + float(some.mean(dtype=np.float64) if some.size else 0.0)

    def report(self) -> ParityReport:
        first, second = (float(np.median(column)) for column in zip(*self.ms, strict=True))
        return ParityReport(
            self.ticks,
            tuple(Difference(name, self.largest[name], self.mean[name] / self.ticks) for name in self.largest),
            self.otherwise / max(self.rows, 1),
            self.differing / self.voxels,
            (100 * mean_iou(self.tables[0]).value, 100 * mean_iou(self.tables[1]).value),
            (first, second),
        )
