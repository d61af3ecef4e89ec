"""Who may use a junction when: signals, stop signs, and which ways over it disturb each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genie.data.synth.town import Town

CLEARANCE = 2.7  # m between the centre lines of two connectors that may be used together


@dataclass(frozen=True)
class Signal:
    """Two groups of approaches in turn. offset, green: s. `clear`: s of red for everybody after each green."""

    axis: float
    green: tuple[float, float]
    offset: float
    clear: float = 2.5

    def allows(self, heading: float, t: float) -> bool:
        cycle = sum(self.green) + 2 * self.clear
        at = (t + self.offset) % cycle
        group = 0 if abs(np.cos(heading - self.axis)) > 0.707 else 1
        start = 0.0 if group == 0 else self.green[0] + self.clear
        return start <= at < start + self.green[group]


@dataclass(frozen=True)
class JunctionRules:
    """signals: per junction. stop_signs: junctions where everybody stops first; the others: first come, first served.

    conflict_end[i][j]: arc length (m) on connector i beyond which it no longer disturbs connector j.
    """

    signals: dict[int, Signal]
    stop_signs: frozenset[int]
    conflict_end: dict[int, dict[int, float]]

    @classmethod
    def draw(cls, town: Town, rng: np.random.Generator) -> JunctionRules:
        signals: dict[int, Signal] = {}
        stop_signs: set[int] = set()
        for node in range(len(town.nodes)):
            approaches = town.approaches(node)
            if len(approaches) < 3:
                continue
            if rng.random() < 0.5:
                axis = town.roads[approaches[0]].end(node)[1]
                green = rng.uniform(8, 24, 2)
                signals[node] = Signal(axis, (float(green[0]), float(green[1])), float(rng.uniform(0, 60)))
            elif rng.random() < 0.35:
                stop_signs.add(node)
        return cls(signals, frozenset(stop_signs), _conflicts(town))


def _conflicts(town: Town) -> dict[int, dict[int, float]]:
    lanes = town.lanes
    table: dict[int, dict[int, float]] = {}
    for node in range(len(town.nodes)):
        here = np.flatnonzero(lanes.is_connector & (lanes.junction == node))
        sampled = [lanes.lines.line(int(i))[::2] for i in here]
        for i, a in zip(here, sampled, strict=True):
            table[int(i)] = {}
            for j, b in zip(here, sampled, strict=True):
                near = np.linalg.norm(a[:, None] - b[None], axis=-1).min(1) < CLEARANCE
                if i != j and near.any():
                    last = np.flatnonzero(near)[-1] + 1
                    table[int(i)][int(j)] = float(last / len(a) * lanes.lines.lengths[i])
    return table
