"""One scene as arrays in time order: what replay, evaluation and training all read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.types import Occupancy, SensorFrame


@dataclass(frozen=True)
class Sequence:
    """Occupancy and ego poses of one scene.

    name:           scene name, e.g. "scene-0061".
    semantics:      uint8 [T, 200, 200, 16], each in the ego frame of its instant.
    timestamp_us:   int64 [T], strictly increasing.
    world_from_ego: float64 [T, 4, 4].
    source:         the file or folder it was read from.
    """

    name: str
    semantics: NDArray[np.uint8]
    timestamp_us: NDArray[np.int64]
    world_from_ego: NDArray[np.float64]
    source: Path

    def __len__(self) -> int:
        return len(self.timestamp_us)

    def frame(self, t: int) -> SensorFrame:
        return SensorFrame(
            stamp_us=int(self.timestamp_us[t]),
            world_from_ego=self.world_from_ego[t],
            occupancy=Occupancy(self.semantics[t], source=self.source),
        )

    def frames(self) -> Iterator[SensorFrame]:
        return (self.frame(t) for t in range(len(self)))
