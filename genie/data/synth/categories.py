"""What stands and moves in the synthetic world: nuScenes categories, their Occ3D classes and sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.types import CLASS_NAMES


@dataclass(frozen=True)
class Category:
    """size: mean width, length, height (m; nuScenes order). spread: standard deviations of their logarithms."""

    name: str
    occupancy_class: int
    size: tuple[float, float, float]
    spread: tuple[float, float, float]

    def draw_size(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Lognormal, cut at two deviations: [w, l, h] in metres."""
        deviations = rng.standard_normal(3).clip(-2, 2) * self.spread
        return np.round(np.array(self.size) * np.exp(deviations), 3)


def _category(
    name: str, occupancy: str, size: tuple[float, float, float], spread: tuple[float, float, float]
) -> Category:
    return Category(name, CLASS_NAMES.index(occupancy), size, spread)


# Means and spreads as published for nuScenes. The classes follow the lidarseg merge that Occ3D uses.
CATEGORIES: tuple[Category, ...] = (
    _category("vehicle.car", "car", (1.95, 4.62, 1.73), (0.06, 0.08, 0.10)),
    _category("vehicle.truck", "truck", (2.45, 6.7, 2.75), (0.11, 0.24, 0.20)),
    _category("vehicle.bus.rigid", "bus", (2.93, 11.1, 3.47), (0.05, 0.12, 0.08)),
    _category("vehicle.bus.bendy", "bus", (2.9, 9.2, 3.3), (0.03, 0.05, 0.03)),
    _category("vehicle.trailer", "trailer", (2.6, 9.5, 3.7), (0.10, 0.25, 0.12)),
    _category("vehicle.construction", "construction_vehicle", (2.7, 6.0, 2.9), (0.14, 0.28, 0.15)),
    _category("vehicle.motorcycle", "motorcycle", (0.78, 2.1, 1.45), (0.18, 0.13, 0.11)),
    _category("vehicle.bicycle", "bicycle", (0.61, 1.74, 1.3), (0.17, 0.09, 0.16)),
    _category("human.pedestrian.adult", "pedestrian", (0.67, 0.73, 1.77), (0.15, 0.20, 0.07)),
    _category("human.pedestrian.child", "pedestrian", (0.5, 0.52, 1.35), (0.12, 0.15, 0.10)),
    _category("human.pedestrian.construction_worker", "pedestrian", (0.68, 0.7, 1.75), (0.10, 0.16, 0.05)),
    _category("movable_object.barrier", "barrier", (2.3, 0.55, 1.0), (0.17, 0.18, 0.10)),
    _category("movable_object.trafficcone", "traffic_cone", (0.42, 0.42, 0.95), (0.18, 0.15, 0.18)),
)
BY_NAME: dict[str, int] = {c.name: i for i, c in enumerate(CATEGORIES)}
