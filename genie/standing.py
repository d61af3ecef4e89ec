"""What stands: an object that has neither covered nor left any ground in the last second, whatever its centroid says.

A centroid wanders where an object is cut by the border of the grid, or touches another and parts from it again, and
then a parked truck drives. Its cells do not wander. They are compared with those of its class in earlier frames, a cell
of tolerance to each side; ground that only one of the two frames can see does not count. numpy and OpenCV only.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.transforms import inverse
from genie.objects import Components
from perception.types import CLASS_NAMES, GRID

LOOKS_S = (0.5, 0.75, 1.0)  # how far back is looked: several times, for where one drives another may have been
WITHIN_S = 0.06  # of such a time a frame must be
TELLING_M = 0.7  # an object said to have moved less would hardly show it
LEAST_CELLS = 4  # of an object, that both frames can see: fewer tell nothing
SHARE = 0.04  # of its cells that may be new, and that may be beside ground left: corners, which voxels round
SIDE = GRID.shape[0]
_PEDESTRIAN = CLASS_NAMES.index("pedestrian")  # in a crowd nothing is new
_AROUND = np.ones((3, 3), np.uint8)


class Seen(NamedTuple):
    """A frame. cells: [m, 2], where something movable is; kind: uint8 [m], its class as in Components; around: uint16
    [200, 200], a bit for each kind that is in the cell or one of the eight around it."""

    stamp_us: int
    world_from_ego: NDArray[np.float64]
    cells: NDArray[np.intp]
    kind: NDArray[np.uint8]
    around: NDArray[np.uint16]


class _Cells(NamedTuple):
    """Cells of the candidates in the present frame. xy: index [m, 2]; who: their object; kind: of their class."""

    xy: NDArray[np.intp]
    who: NDArray[np.int32]
    kind: NDArray[np.uint8]


def see(components: Components, world_from_ego: NDArray[np.float64], stamp_us: int) -> Seen:
    bits = np.left_shift(np.uint16(1), components.kind, dtype=np.uint16) & np.uint16(0xFFFE)
    rows = np.pad(bits, ((1, 1), (0, 0)))
    rows = rows[:-2] | rows[1:-1] | rows[2:]
    columns = np.pad(rows, ((0, 0), (1, 1)))
    cells = np.argwhere(components.kind)
    kind = components.kind[cells[:, 0], cells[:, 1]]
    return Seen(stamp_us, world_from_ego, cells, kind, columns[:, :-2] | columns[:, 1:-1] | columns[:, 2:])


def remember(past: tuple[Seen, ...], newest: Seen) -> tuple[Seen, ...]:
    """Frames that can still be looked back to, oldest first, the newest last."""
    longest = LOOKS_S[-1] + WITHIN_S
    return (*(seen for seen in past if (newest.stamp_us - seen.stamp_us) * 1e-6 <= longest), newest)


def standing(components: Components, speed: NDArray[np.float64], past: tuple[Seen, ...]) -> NDArray[np.bool_]:
    """Which components stand though they are said to move, [n]; False where that cannot be told.

    Args:
        speed: [n] (m/s), what is said of them.
        past: of `remember`; its last frame is that of the components.
    """
    count = len(components)
    told, moved = np.zeros(count, bool), np.zeros(count, bool)
    candidate = (speed > 0) & (components.class_id != _PEDESTRIAN)
    if not candidate.any():
        return told
    xy = np.argwhere(np.append(False, candidate)[components.object_id])
    ix, iy = xy.T
    cells = _Cells(xy, components.object_id[ix, iy] - 1, components.kind[ix, iy])
    now = past[-1]
    for seconds in LOOKS_S:
        then = min(past, key=lambda seen: abs(_ago(now, seen) - seconds))
        if abs(_ago(now, then) - seconds) > WITHIN_S:
            continue
        common, new, left = _compare(cells, now, then, count)
        tells = candidate & (common >= LEAST_CELLS) & (speed * _ago(now, then) >= TELLING_M)
        told |= tells
        moved |= tells & ((new > SHARE * common) | (left > SHARE * common))
    return told & ~moved


def _ago(now: Seen, then: Seen) -> float:
    return (now.stamp_us - then.stamp_us) * 1e-6


def _compare(cells: _Cells, now: Seen, then: Seen, count: int) -> tuple[NDArray[np.int64], ...]:
    """Of each object: cells that both frames see; those that it did not cover then; those beside ground that something
    of its class has left since."""
    then_from_now = inverse(then.world_from_ego) @ now.world_from_ego
    there, seen = _cells_in(cells.xy, then_from_now)
    covered = _near(then, there, cells.kind)
    here, in_grid = _cells_in(then.cells, inverse(then_from_now))
    gone = in_grid & ~_near(now, here, then.kind)
    left = np.zeros((SIDE, SIDE), np.uint8)
    left[here[gone, 0], here[gone, 1]] = then.kind[gone]
    beside = cv2.dilate(left, _AROUND, iterations=2)[cells.xy[:, 0], cells.xy[:, 1]] == cells.kind
    tellings = (seen, seen & ~covered, beside)
    return tuple(np.bincount(cells.who, telling, minlength=count).astype(np.int64) for telling in tellings)


def _cells_in(xy: NDArray[np.intp], other_from_this: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where the centres of cells [m, 2] are in another frame: cells [m, 2], and whether in its grid; clipped to it."""
    place = GRID.origin[:2] + (xy + 0.5) * GRID.voxel_size
    there = place @ other_from_this[:2, :2].T + other_from_this[:2, 3]
    cell = np.floor((there - GRID.origin[:2]) / GRID.voxel_size).astype(np.intp)
    return cell.clip(0, SIDE - 1), ((cell >= 0) & (cell < SIDE)).all(axis=1)


def _near(frame: Seen, cell: NDArray[np.intp], kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether that kind is in the cell or one of the eight around it."""
    found: NDArray[np.bool_] = (frame.around[cell[:, 0], cell[:, 1]] >> kind) & 1 > 0
    return found
