"""One pass over the sweeps of a scene: what stands still in the world, what belongs to each instance in its box."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array
from genie.data.occupancy import cells as cells_of
from genie.data.occupancy.boxes import boxes_at, members
from genie.data.occupancy.cells import UNKNOWN, Cells
from genie.data.occupancy.config import OccupancyConfig
from genie.data.occupancy.lidarseg import DROPPED, Lidarseg
from genie.data.occupancy.semantics import is_flat
from genie.data.occupancy.sweeps import Sweep, read_points
from genie.data.tracks import SceneTracks

_OBJECT_CELL = 0.1  # m
_BATCH = 10  # sweeps whose points are merged at once


class Rays(NamedTuple):
    """A sweep's rays: stamp_us; origin [3] and ends float32 [n, 3], in metres from `Scan.center`, heights levelled."""

    stamp_us: int
    origin: Array
    ends: NDArray[np.float32]


class Scan(NamedTuple):
    """What the sweeps of a scene say.

    static: in the levelled world (m): x, y as recorded, z + height of the road under the ego.
    objects: instance -> points [n, 3] in the frame of its box (m).
    rays: of all sweeps. height: [sweeps], of the road under each (m).
    center: [3], where float32 coordinates count from.
    """

    static: Cells
    objects: dict[int, Array]
    rays: list[Rays]
    height: Array
    center: Array


def accumulate(
    sweeps: list[Sweep],
    height: Array,
    tracks: SceneTracks,
    lidarseg: Lidarseg,
    config: OccupancyConfig,
    progress: Callable[[], None] = lambda: None,
) -> Scan:
    """Reads all sweeps. Points in boxes, moving or not, go to their instance; flat ones under it stay with the ground.

    Args:
        sweeps: in time order; `height` [len(sweeps)] (m) of the road under each, see align.heights.
        progress: called after each sweep.

    Raises:
        InputError: a sweep or a label file is damaged.
    """
    center = sweeps[0].world_from_ego[:3, 3]
    static: list[Cells] = []
    batch: list[Cells] = []
    objects: dict[int, list[Array]] = {}
    rays = []
    for sweep, rise in zip(sweeps, height, strict=True):
        points = read_points(sweep, config.reach)
        class_id = lidarseg.of(sweep, points.rows) if sweep.keyframe else np.full(len(points.rows), UNKNOWN, np.uint8)
        world, class_id = points.world[class_id != DROPPED], class_id[class_id != DROPPED]
        boxes, sure = boxes_at(tracks, sweep.stamp_us)
        member = members(world, boxes, config.margin)
        flat = is_flat(class_id)
        lift = np.array([0.0, 0.0, rise])
        levelled, origin = world + lift, sweep.origin + lift
        alone = (member.row < 0) | flat
        batch.append(cells_of.of_points(levelled[alone], origin, class_id[alone]))
        for row in np.flatnonzero(sure):
            own = member.inside & (member.row == row) & ~flat
            if own.any():
                objects.setdefault(int(boxes.instance[row]), []).append(member.local[own])
        rays.append(Rays(sweep.stamp_us, origin - center, (levelled - center).astype(np.float32)))
        if len(batch) == _BATCH:
            static.append(cells_of.merge(batch, config.cell))
            batch = []
        progress()
    return Scan(
        cells_of.merge([*static, *batch], config.cell),
        {instance: _thin(parts) for instance, parts in objects.items()},
        rays,
        height,
        center,
    )


def _thin(parts: list[Array]) -> Array:
    points = np.concatenate(parts)
    _, first = np.unique(np.floor(points / _OBJECT_CELL).astype(np.int64), axis=0, return_index=True)
    return points[first]
