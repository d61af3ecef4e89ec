"""What one tick sees: occupancy, the objects in it with their measured motion, and how the ego moved.

This is the one preprocessing: training, evaluation, export and the car all call `observe`. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.transforms import inverse, planar
from genie.evidence import NO_EVIDENCE, Evidence, FusedEvidence, fuse, start_evidence
from genie.objects import MAX_OBJECTS, Components, find_components, highest, nearest_uncovered
from genie.standing import Seen, remember, see, standing
from genie.tracking import MOVES_ABOVE_MPS, Tracks, associate, fit_velocity, measured_velocity, start_tracks
from perception.types import CLASS_NAMES, MOVABLE, SensorFrame

MAX_OBJECT_CELLS = 2048  # C; real scenes have up to 1300
PAST_S = (0.2, 0.5, 1.0)  # where was it then?
# Columns of ObservedScene.objects. Vectors are in the ego frame at the stamp; SI units.
CENTER, HEADING, MEASURED, FAST, SLOW = slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8), slice(8, 10)
PAST, AXIS = slice(10, 16), slice(16, 18)
VECTORS = (MEASURED, FAST, SLOW, slice(10, 12), slice(12, 14), slice(14, 16))
SCALARS = slice(18, 26)  # past seen x3, age, half length, half width, at border, log cells
AGE, HALF_LENGTH, HALF_WIDTH = 21, 22, 23
KIND = slice(26, 26 + len(MOVABLE))
OBJECT_CHANNELS = 26 + len(MOVABLE)
MOVES_ABOVE_M = 0.6  # an object that will have moved less than this in three seconds stands
ACCELERATION_S = 1.05  # over which the ego's acceleration is measured
GAP_S = 1.2  # a longer gap between frames starts afresh
_SMALL = np.zeros(256, np.uint8)
for _name in ("pedestrian", "bicycle", "traffic_cone"):
    _SMALL[CLASS_NAMES.index(_name)] = 1 + CLASS_NAMES.index(_name)


class ObservedScene(NamedTuple):
    """One observation as arrays of fixed shape, K = 128 objects.

    semantics:    uint8 [200, 200, 16].
    object_id:    int32 [200, 200], 0 or 1 + row in `objects`.
    object_cells: int32 [C], flat indices of the cells that objects cover, -1 where there are fewer; if there are more,
        those of the slowest objects are left out, and stay where they are.
    small:        int32 [200, 200], 1 + the class of the small thing in that cell, or 0: what no tolerance may hide.
    uncovered:    int32 [200, 200], flat index of the nearest cell that no object covers.
    objects:      float32 [K, OBJECT_CHANNELS], zero rows where there is no object.
    evidence_block, evidence_row, evidence, fine_from_ego: static columns kept from the past, as
        genie.evidence.FusedEvidence has them.
    ego_motion:   float32 [3], x (m), y (m), yaw (rad) of the previous ego frame in the present one; zeros at a start.
    ego_velocity: float32 [3], the same as rates of the ego itself: forward, left (m/s), yaw rate (rad/s).
    ego_acceleration: float32 [2], forward (m/s2) and of the yaw rate (rad/s2), the slope over ACCELERATION_S; zeros
        until it is known.
    continues:    float32 [1], 1 where there is a previous frame, 0 at a start.
    dt:           float32 [1], seconds since the previous frame, 0 at a start.
    """

    semantics: NDArray[np.uint8]
    object_id: NDArray[np.int32]
    object_cells: NDArray[np.int32]
    small: NDArray[np.int32]
    uncovered: NDArray[np.int32]
    objects: NDArray[np.float32]
    evidence_block: NDArray[np.int32]
    evidence_row: NDArray[np.int32]
    evidence: NDArray[np.uint8]
    fine_from_ego: NDArray[np.float32]
    ego_motion: NDArray[np.float32]
    ego_velocity: NDArray[np.float32]
    ego_acceleration: NDArray[np.float32]
    continues: NDArray[np.float32]
    dt: NDArray[np.float32]


@dataclass(frozen=True)
class ObserverState:
    """What preprocessing carries from frame to frame. evidence: None where none is kept. past: genie.standing. rates:
    the ego's of the frames of the last ACCELERATION_S, [n, 4]: stamp (s), forward, left (m/s), yaw rate (rad/s)."""

    tracks: Tracks
    past: tuple[Seen, ...]
    evidence: Evidence | None
    world_from_ego: NDArray[np.float64] | None
    stamp_us: int
    rates: NDArray[np.float64]


def start_observer(*, keep_evidence: bool = True) -> ObserverState:
    """Before the first frame. Training, which forecasts no static voxels, keeps no evidence."""
    return ObserverState(start_tracks(), (), start_evidence() if keep_evidence else None, None, 0, np.zeros((0, 4)))


def observe(frame: SensorFrame, state: ObserverState) -> tuple[ObservedScene, ObserverState]:
    """Prepares a frame for the network. A gap of more than 1.2 s, or time that runs backwards, starts afresh.

    Raises:
        InputError: the frame is malformed.
        ValueError: the frame has no occupancy.
    """
    frame.validate()
    if frame.occupancy is None:
        raise ValueError("observe() needs a frame with occupancy")
    dt = (frame.stamp_us - state.stamp_us) * 1e-6
    if state.world_from_ego is None or not 0.0 < dt <= GAP_S:
        state = start_observer(keep_evidence=state.evidence is not None)
    components = find_components(frame.occupancy.semantics)
    tracks = associate(state.tracks, components, frame.world_from_ego, frame.stamp_us)
    motion, velocity, continues = _ego(state, frame, dt)
    past = remember(state.past, see(components, frame.world_from_ego, frame.stamp_us))
    velocity_world = measured_velocity(tracks)[: len(components)]
    stands = standing(components, np.linalg.norm(velocity_world, axis=-1), past)
    rates = _remember_rates(state.rates, frame.stamp_us, velocity, dt) if continues[0] else state.rates
    objects = object_features(components, tracks, np.where(stands[:, None], 0.0, velocity_world), frame.world_from_ego)
    fused, evidence = _fuse(state, frame, dt, _trail(components.object_id, objects))
    scene = ObservedScene(
        semantics=frame.occupancy.semantics,
        object_id=components.object_id,
        object_cells=covered_cells(components.object_id, objects),
        small=small_things(frame.occupancy.semantics),
        uncovered=nearest_uncovered(components.object_id),
        objects=objects,
        evidence_block=fused.block,
        evidence_row=fused.row,
        evidence=fused.columns,
        fine_from_ego=fused.fine_from_ego,
        ego_motion=motion,
        ego_velocity=velocity,
        ego_acceleration=_slope(rates)[[0, 2]].astype(np.float32),
        continues=continues,
        dt=np.float32(dt) * continues,
    )
    return scene, ObserverState(tracks, past, evidence, frame.world_from_ego, frame.stamp_us, rates)


def _trail(object_id: NDArray[np.int32], objects: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Cells within one cell of an object that moves, [200, 200]."""
    moves = np.append(False, np.hypot(*objects[:, MEASURED].T) > 0)
    return cv2.dilate(moves[object_id].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _fuse(
    state: ObserverState, frame: SensorFrame, dt: float, trail: NDArray[np.bool_]
) -> tuple[FusedEvidence, Evidence | None]:
    if state.evidence is None or frame.occupancy is None:
        return NO_EVIDENCE, None
    return fuse(state.evidence, frame.occupancy.semantics, frame.world_from_ego, dt if state.stamp_us else 0.0, trail)


def _ego(state: ObserverState, frame: SensorFrame, dt: float) -> tuple[NDArray[np.float32], ...]:
    if state.world_from_ego is None:
        return np.zeros(3, np.float32), np.zeros(3, np.float32), np.zeros(1, np.float32)
    now_from_previous = inverse(frame.world_from_ego) @ state.world_from_ego
    rates = planar(inverse(now_from_previous)) / dt
    return planar(now_from_previous).astype(np.float32), rates.astype(np.float32), np.ones(1, np.float32)


def _remember_rates(
    rates: NDArray[np.float64], stamp_us: int, velocity: NDArray[np.float32], dt: float
) -> NDArray[np.float64]:
    """With those of the newest frame, which hold between it and the one before; old ones are dropped."""
    all_rates = np.concatenate([rates, [[stamp_us * 1e-6 - dt / 2, *velocity]]])
    return all_rates[all_rates[:, 0] > stamp_us * 1e-6 - max(ACCELERATION_S, 2 * dt)]


def _slope(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of the rates over time, [3] a second; zeros from less than two."""
    if len(rates) < 2:
        return np.zeros(3)
    t = rates[:, 0] - rates[:, 0].mean()
    slope: NDArray[np.float64] = t @ rates[:, 1:] / (t @ t)
    return slope


def small_things(semantics: NDArray[np.uint8]) -> NDArray[np.int32]:
    """`small` of ObservedScene."""
    return highest(_SMALL, semantics).astype(np.int32)


def covered_cells(object_id: NDArray[np.int32], objects: NDArray[np.float32]) -> NDArray[np.int32]:
    """`object_cells` of ObservedScene."""
    cells = np.flatnonzero(object_id)
    if len(cells) > MAX_OBJECT_CELLS:
        speed = np.linalg.norm(objects[object_id.ravel()[cells] - 1, SLOW], axis=-1)
        cells = cells[np.argsort(-speed, kind="stable")[:MAX_OBJECT_CELLS]]
    out = np.full(MAX_OBJECT_CELLS, -1, np.int32)
    out[: len(cells)] = cells
    return out


def object_features(
    components: Components,
    tracks: Tracks,
    velocity_world: NDArray[np.float64],
    world_from_ego: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The per-object array of ObservedScene. velocity_world: [n, 2] (m/s), what counts as measured."""
    count = len(components)
    ego_from_world = world_from_ego[:2, :2].T
    features = np.zeros((MAX_OBJECTS, OBJECT_CHANNELS))
    rows = features[:count]
    measured = velocity_world @ ego_from_world.T
    fast = fit_velocity(tracks, 0.35)[:count] @ ego_from_world.T
    slow = fit_velocity(tracks)[:count] @ ego_from_world.T
    rows[:, CENTER] = components.center
    rows[:, HEADING] = _heading(slow, components.axes)
    rows[:, MEASURED], rows[:, FAST], rows[:, SLOW] = measured, fast, slow
    for index, past_s in enumerate(PAST_S):
        past = _position_at(tracks, -past_s)[:count]
        seen = ~np.isnan(past[:, 0])
        here = components.center @ world_from_ego[:2, :2].T + world_from_ego[:2, 3]
        rows[:, 10 + 2 * index : 12 + 2 * index] = np.where(seen[:, None], (past - here) @ ego_from_world.T, 0.0)
        rows[:, 18 + index] = seen
    cos, sin = components.axes[:, 2], components.axes[:, 3]
    rows[:, AXIS] = np.stack([cos * cos - sin * sin, 2 * cos * sin], -1)  # doubled angle: an axis has no front
    rows[:, AGE] = np.minimum(tracks.age_s[:count], 3.0)
    rows[:, 22:24] = components.axes[:, :2]
    rows[:, 24] = components.at_border
    rows[:, 25] = np.log(np.maximum(components.cells, 1))
    rows[:, KIND] = components.class_id[:, None] == np.asarray(MOVABLE)
    return features.astype(np.float32)


def _heading(velocity: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors [n, 2]: where it goes, or, while it stands, along its long axis."""
    speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
    return np.where(speed > MOVES_ABOVE_MPS, velocity / np.maximum(speed, 1e-6), axes[:, 2:4])


def _position_at(tracks: Tracks, relative_s: float) -> NDArray[np.float64]:
    """World positions [n, 2] in the frame nearest to that time, within half a frame; NaN where not seen."""
    if not len(tracks.times_s):
        return np.full((len(tracks.class_id), 2), np.nan)
    nearest = int(np.argmin(np.abs(tracks.times_s - relative_s)))
    if abs(tracks.times_s[nearest] - relative_s) > 0.051:
        return np.full((len(tracks.class_id), 2), np.nan)
    return tracks.world_xy[nearest]
