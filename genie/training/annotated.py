"""A scene as people annotate it: boxes placed by hand at some keyframes, a few centimetres off, and linear in between.

Streams that are derived from annotations, which come at 2 Hz, move so: a velocity is constant for half a second to
several, then steps. What a simulator moves smoothly is turned into such a stream, so that what is learned about
velocities holds for both. Second differences of the keyframes are then about those of real ones
(docs/decisions/012-motion-as-people-annotate-it.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, inverse, wrap_angle
from genie.data.sequence import Sequence
from genie.data.synth.rasterise import put_box
from genie.data.tracks import Boxes, SceneTracks
from genie.objects import find_components, nearest_uncovered
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

ROAD_Z = 2  # index of the level road in a derived stream
_PEDESTRIAN = CLASS_NAMES.index("pedestrian")


@dataclass(frozen=True)
class Annotator:
    """How boxes are placed. placed: share of the keyframes at which a box is placed by hand, the others are
    interpolated (pedestrians; others). along_m, across_m, yaw_rad: standard deviations of an error; of a pedestrian,
    `person` times that. still_m: what moves less than this between placements is left where it is."""

    placed: tuple[float, float] = (0.4, 0.65)
    along_m: float = 0.12
    across_m: float = 0.06
    yaw_rad: float = 0.015
    person: float = 0.8
    still_m: float = 0.15


def annotate(tracks: SceneTracks, rng: np.random.Generator, annotator: Annotator = Annotator()) -> SceneTracks:
    """The same instances as someone would have annotated them."""
    boxes = [replace(b, center_world=b.center_world.copy(), yaw_world=b.yaw_world.copy()) for b in tracks.boxes]
    chains: dict[int, list[tuple[int, int]]] = {}
    for k, at in enumerate(tracks.boxes):
        for row, instance in enumerate(at.instance.tolist()):
            chains.setdefault(instance, []).append((k, row))
    for chain in chains.values():
        _place(chain, tracks, boxes, rng, annotator)
    return SceneTracks(tracks.stamp_us, tuple(boxes))


def _place(
    chain: list[tuple[int, int]], tracks: SceneTracks, boxes: list[Boxes], rng: np.random.Generator, by: Annotator
) -> None:
    center = np.array([tracks.boxes[k].center_world[row] for k, row in chain])
    yaw = np.unwrap([tracks.boxes[k].yaw_world[row] for k, row in chain])
    person = tracks.boxes[chain[0][0]].class_id[chain[0][1]] == _PEDESTRIAN
    hand = rng.random(len(chain)) < by.placed[0 if person else 1]
    hand[[0, -1]] = True
    scale = by.person if person else 1.0
    scale *= rng.uniform(0.3, 1.7)  # some instances are placed with more care than others
    noise = rng.normal(size=(len(chain), 3)) * scale * (by.along_m, by.across_m, by.yaw_rad)
    placed = np.flatnonzero(hand)
    error, last = np.zeros((len(chain), 3)), placed[0]
    error[last] = noise[last]
    for k in placed[1:]:
        moved = np.hypot(*(center[k] - center[last])[:2]) > by.still_m
        error[k] = noise[k] if moved else error[last]  # what stands is copied
        last = k
    cos, sin = np.cos(yaw), np.sin(yaw)
    put = center.copy()
    put[:, 0] += cos * error[:, 0] - sin * error[:, 1]
    put[:, 1] += sin * error[:, 0] + cos * error[:, 1]
    turned = yaw + error[:, 2]
    at = np.array([tracks.stamp_us[k] for k, _ in chain], np.float64)
    for index, (k, row) in enumerate(chain):
        boxes[k].center_world[row] = [np.interp(at[index], at[placed], put[placed, axis]) for axis in range(3)]
        boxes[k].yaw_world[row] = wrap_angle(np.interp(at[index], at[placed], turned[placed]))


def derived_stream(sequence: Sequence, tracks: SceneTracks) -> Sequence:
    """Boxes and road alone, derived from the tracks by the rule by which real streams are: a voxel belongs to a box if
    its centre is inside, each side at least a voxel; the road is that of `sequence`, closed where something stood."""
    semantics = np.empty_like(sequence.semantics)
    for t in range(len(sequence)):
        semantics[t] = derive(
            sequence.semantics[t], tracks.at(int(sequence.timestamp_us[t])), sequence.world_from_ego[t]
        )
    return replace(sequence, semantics=semantics)


def derive(semantics: NDArray[np.uint8], boxes: Boxes, world_from_ego: Array) -> NDArray[np.uint8]:
    """One frame of `derived_stream`."""
    uncovered = nearest_uncovered(find_components(semantics).object_id)
    road = (semantics == DRIVEABLE).any(axis=2).ravel()[uncovered]
    out = np.full_like(semantics, FREE)
    out[:, :, ROAD_Z][road.reshape(GRID.shape[:2])] = DRIVEABLE
    ego_from_world = inverse(world_from_ego)
    center = boxes.center_world @ ego_from_world[:3, :3].T + ego_from_world[:3, 3]
    yaw = boxes.yaw_world + np.arctan2(ego_from_world[1, 0], ego_from_world[0, 0])
    size = np.maximum(boxes.size_lwh[:, [1, 0, 2]], GRID.voxel_size)
    near = (np.abs(center[:, :2]) < -GRID.origin[0] + np.hypot(size[:, 0], size[:, 1])[:, None] / 2).all(axis=1)
    for b in sorted(np.flatnonzero(near), key=lambda b: -size[b].prod()):
        put_box(out, center[b], size[b], float(yaw[b]), int(boxes.class_id[b]))
    return out
