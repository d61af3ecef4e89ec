"""Perceived occupancy that does not flicker: evidence adds up, and what is known outweighs a doubtful look.

Each voxel's log-odds of being occupied are the sum of

    look      what the network tells now, in the present ego frame: never resampled
    known     what past looks told of this place in the world, fading
    expected  what a forecast for now says, where there is one

and a voxel changes only when the sum has passed the middle by a margin; its class, when a majority of looks has
another. Past evidence lies in a lattice that is fixed to the world, so that nothing is resampled twice; it is clamped
below what one clear look weighs, so that a thing that appears, or leaves, is told at once. Planar: roll, pitch and
heave of the ego move no evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from calib.transforms import inverse
from perception.types import FREE, GRID, Occupancy

# Cells a side: the grid in any direction (a square of 80 m has a diagonal of 113 m), and some.
LATTICE = 288
_REACH = GRID.voxel_size * LATTICE / 2
_LEAST, _MOST = 1e-3, 1 - 1e-3  # probabilities nearer to 0 or 1 are no surer than these


@dataclass(frozen=True)
class SteadyConfig:
    """Log-odds, but for `fades_s` and `class_looks`."""

    clear_look: float = 4.0  # the most that one look weighs
    known: float = 3.0  # the most that the past weighs: less than a clear look
    expected: float = 1.0  # the most that a forecast weighs
    margin: float = 0.5  # beyond the middle, before a voxel changes
    fades_s: float = 1.0  # what is known falls to 1/e in this time, without a look that confirms it
    class_looks: float = 8.0  # so many looks at most that agreed on a class must be outweighed before it is another


class Look(NamedTuple):
    """What the network told. occupied: probabilities. semantics: the likeliest class, free included."""

    occupied: Float[NDArray[np.float32], "X Y Z"]
    semantics: UInt8[NDArray[np.uint8], "X Y Z"]


class Expected(NamedTuple):
    """A forecast for now. world_from_ego: of the frame that it was told in. confidence: that an occupied voxel of it
    is right, 0.5 to 1."""

    semantics: UInt8[NDArray[np.uint8], "X Y Z"]
    world_from_ego: NDArray[np.float64]
    confidence: float


class SteadyOccupancy:
    """The evidence of one stream."""

    def __init__(self, config: SteadyConfig | None = None) -> None:
        self._config = config or SteadyConfig()
        self.reset()

    def reset(self) -> None:
        """Forgets everything: after a jump of the pose, a gap, another recording."""
        heights = GRID.shape[2]
        self._log_odds = np.zeros((LATTICE, LATTICE, heights), np.float32)
        self._classes = np.full((LATTICE, LATTICE, heights), FREE, np.uint8)
        self._votes = np.zeros((LATTICE, LATTICE, heights), np.float32)  # looks for the class, less those against it
        self._shown = np.zeros((LATTICE, LATTICE, heights), bool)
        self._corner: NDArray[np.int64] | None = None  # world cell of the lattice's lowest corner
        self._stamp_us: int | None = None

    def update(
        self, look: Look, world_from_ego: NDArray[np.float64], stamp_us: int, expected: Expected | None = None
    ) -> Occupancy:
        """Takes a look, and tells what is there now, in the same ego frame.

        Raises:
            ValueError: the stamp is not later than the last.
        """
        if self._stamp_us is not None and stamp_us <= self._stamp_us:
            raise ValueError(f"update() at {stamp_us} us after {self._stamp_us} us")
        self._fade(stamp_us)
        self._follow(world_from_ego)
        config = self._config
        weight = np.clip(_logit(look.occupied), -config.clear_look, config.clear_look)
        here = self._lattice_of(_centres(world_from_ego))
        total = weight + self._log_odds[here]
        if expected is not None:
            total += self._expectation(expected, world_from_ego)
        was = self._shown[here]
        occupied = np.where(was, total > -config.margin, total > config.margin)
        held, believed = self._classes[here], self._votes[here] >= 1
        # Nothing but another look at the same place can tell one class from another: a majority of looks decides.
        named = np.where((look.semantics != FREE) & ~(believed & (held != FREE)), look.semantics, held)
        # Nothing ever named it, and the network hesitates: it is left out rather than given a class by guess.
        semantics = np.where(occupied, named, np.uint8(FREE)).astype(np.uint8)
        self._remember(weight, look.semantics, semantics != FREE, world_from_ego)
        return Occupancy(semantics, source="perception, over time")

    def _fade(self, stamp_us: int) -> None:
        if self._stamp_us is not None:
            fading = np.float32(np.exp(-(stamp_us - self._stamp_us) * 1e-6 / self._config.fades_s))
            self._log_odds *= fading
            self._votes *= fading
        self._stamp_us = stamp_us

    def _follow(self, world_from_ego: NDArray[np.float64]) -> None:
        """The lattice goes with the ego; what comes in at its borders is unknown."""
        corner = np.floor((world_from_ego[:2, 3] - _REACH) / GRID.voxel_size).astype(np.int64)
        before = corner if self._corner is None else self._corner
        for axis in range(2):
            new, old = int(corner[axis]), int(before[axis])
            first, beyond = (max(old + LATTICE, new), new + LATTICE) if new > old else (new, min(old, new + LATTICE))
            cells = np.arange(first, beyond) % LATTICE
            parts = ((self._log_odds, 0.0), (self._classes, FREE), (self._votes, 0.0), (self._shown, False))
            for part, unknown in parts:
                np.moveaxis(part, axis, 0)[cells] = unknown
        self._corner = corner

    def _lattice_of(self, world_xy: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        cells = np.floor(world_xy / GRID.voxel_size).astype(np.int64) % LATTICE
        return cells[..., 0], cells[..., 1]

    def _expectation(
        self, expected: Expected, world_from_ego: NDArray[np.float64]
    ) -> Float[NDArray[np.float32], "X Y Z"]:
        """0 where the forecast's frame does not reach."""
        then_from_now = inverse(expected.world_from_ego) @ world_from_ego
        columns, inside = _columns_at(_centres(then_from_now))
        weight = np.minimum(_logit(np.float32(expected.confidence)), np.float32(self._config.expected))
        voxels = expected.semantics[columns]
        signed: NDArray[np.float32] = np.where(voxels != FREE, weight, -weight) * inside[..., None]
        return signed

    def _remember(
        self,
        weight: Float[NDArray[np.float32], "X Y Z"],
        named: UInt8[NDArray[np.uint8], "X Y Z"],
        shown: NDArray[np.bool_],
        world_from_ego: NDArray[np.float64],
    ) -> None:
        """Each cell of the lattice looks up the voxel at its centre."""
        assert self._corner is not None
        steps = np.arange(LATTICE)
        world = (self._corner + np.stack(np.meshgrid(steps, steps, indexing="ij"), -1) + 0.5) * GRID.voxel_size
        ego_from_world = inverse(world_from_ego)
        ego = world @ ego_from_world[:2, :2].T + ego_from_world[:2, 3]
        columns, inside = _columns_at(ego)
        here = tuple(index[inside] for index in self._lattice_of(world))
        there = tuple(index[inside] for index in columns)
        limit = self._config.known
        self._log_odds[here] = np.clip(self._log_odds[here] + weight[there], -limit, limit)
        seen, held, votes = named[there], self._classes[here], self._votes[here]
        votes = np.where(seen == FREE, votes, votes + np.where(seen == held, 1, -1)).astype(np.float32)
        changed = votes < 0
        self._classes[here] = np.where(changed | (held == FREE) & (seen != FREE), seen, held)
        self._votes[here] = np.minimum(np.abs(votes), self._config.class_looks)
        self._shown[here] = shown[there]


def _logit(probability: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    bounded = np.clip(probability, _LEAST, _MOST)
    told: NDArray[np.float32] = np.log(bounded / (1 - bounded)).astype(np.float32)
    return told


def _centres(target_from_ego: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centres of the ego grid's columns in another frame, [X, Y, 2] (m)."""
    x, y = (GRID.origin[a] + (np.arange(GRID.shape[a]) + 0.5) * GRID.voxel_size for a in range(2))
    ego = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    found: NDArray[np.float64] = ego @ target_from_ego[:2, :2].T + target_from_ego[:2, 3]
    return found


def _columns_at(xy: NDArray[np.float64]) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]:
    """Indices of the columns of a grid at points of its frame, clipped; and whether they are inside."""
    index = np.floor((xy - GRID.origin[:2]) / GRID.voxel_size).astype(np.int64)
    inside = ((index >= 0) & (index < GRID.shape[:2])).all(-1)
    clipped = np.clip(index, 0, np.array(GRID.shape[:2]) - 1)
    return (clipped[..., 0], clipped[..., 1]), inside
