"""nuScenes-lidarseg: the class of each return of a keyframe, in Occ3D's classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from genie.data.occupancy.cells import UNKNOWN
from genie.data.occupancy.sweeps import Sweep
from genie.data.tracks import class_of_category
from perception.types import CLASS_NAMES

if TYPE_CHECKING:
    from nuscenes import NuScenes

DROPPED = 255  # noise, and the ego's own body
_FLAT_AND_STATIC = {
    "flat.driveable_surface": "driveable_surface",
    "flat.other": "other_flat",
    "flat.sidewalk": "sidewalk",
    "flat.terrain": "terrain",
    "static.manmade": "manmade",
    "static.vegetation": "vegetation",
}


class Lidarseg:
    """The point labels of a data root; a root without them has none to give.

    Raises:
        InputError: a lidarseg folder beside categories that have no index.
    """

    def __init__(self, nusc: NuScenes) -> None:
        self._folder = Path(nusc.dataroot) / "lidarseg" / nusc.version
        self.exists = self._folder.is_dir()
        if self.exists:
            self._table = _table(nusc)

    def of(self, sweep: Sweep, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Occ3D classes of these rows of the sweep's file; DROPPED to leave out, UNKNOWN where nothing is known.

        Raises:
            InputError: a label file that does not fit the points.
        """
        path = self._folder / f"{sweep.token}_lidarseg.bin"
        if not self.exists or not path.is_file():
            return np.full(len(rows), UNKNOWN, np.uint8)
        index = np.fromfile(path, np.uint8)
        points = sweep.path.stat().st_size // 20
        if len(index) != points or (len(index) and int(index.max()) >= len(self._table)):
            raise InputError(
                f"{len(index)} labels up to {index.max(initial=0)}",
                expected=f"a uint8 for each of {points} points, below {len(self._table)}",
                fix="take the lidarseg of the same release as the sweeps",
                path=path,
            )
        return self._table[index[rows]]


def class_of_lidarseg(name: str) -> int:
    """Occ3D class id of a lidarseg category name, or DROPPED."""
    if name in _FLAT_AND_STATIC:
        return CLASS_NAMES.index(_FLAT_AND_STATIC[name])
    return DROPPED if name in ("noise", "vehicle.ego") else class_of_category(name)


def _table(nusc: NuScenes) -> NDArray[np.uint8]:
    if not all("index" in category for category in nusc.category):
        raise InputError(
            "categories without an index beside a lidarseg folder",
            expected="the category.json that comes with nuScenes-lidarseg: 32 names, each with its index",
            fix="unpack nuScenes-lidarseg over the data root, tables included",
            path=Path(nusc.dataroot) / nusc.version / "category.json",
        )
    table = np.full(1 + max(int(c["index"]) for c in nusc.category), DROPPED, np.uint8)
    for category in nusc.category:
        table[int(category["index"])] = class_of_lidarseg(category["name"])
    return table
