"""Who was where: components tracked over frames, each with a measured velocity.

All state is explicit: `Tracks` goes in, `Tracks` comes out. numpy only: this runs on the car before any network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genie.objects import Components
from perception.types import CLASS_NAMES

HISTORY_S = 1.05  # how far back a velocity is measured
GATE_M = 1.2  # how far from its predicted place an object may be found again,
GATE_MPS = 6.0  # and how much further for each second since it was last seen
FORGET_AFTER_S = 0.6  # or one and a half frames, if frames are further apart
MOVES_ABOVE_MPS = 0.6  # below, an object stands: measured velocities are that noisy
TRUSTED_AFTER_S = 0.45  # a velocity measured over less is noise
WHOLE_OVER_S = 0.15
LARGE_OVER_S = 0.75  # of what is large the centroid is steadier, so that its velocity can be newer
_LARGE = [CLASS_NAMES.index(n) for n in ("bus", "car", "construction_vehicle", "trailer", "truck")]


@dataclass(frozen=True)
class Tracks:
    """The recent past of objects; the first rows are the components of the newest frame, in their order.

    stamp_us: int, of the newest frame.
    times_s:  float64 [L], stamps of the frames kept relative to the newest, so the last is 0.
    world_xy: float64 [L, n, 2], centroids in the world (m); NaN where the object was not seen.
    whole:    bool [L, n], seen and not cut by the border of the grid: only then the centroid is the object's.
    class_id, cells: int64 [n].
    age_s:    float64 [n], since first seen.
    visible:  bool [n], seen in the newest frame; the others are remembered for a while.
    """

    stamp_us: int
    times_s: NDArray[np.float64]
    world_xy: NDArray[np.float64]
    whole: NDArray[np.bool_]
    class_id: NDArray[np.int64]
    cells: NDArray[np.int64]
    age_s: NDArray[np.float64]
    visible: NDArray[np.bool_]


def start_tracks() -> Tracks:
    """Nothing seen yet."""
    none = np.zeros(0, np.int64)
    return Tracks(
        0, np.zeros(0), np.zeros((0, 0, 2)), np.zeros((0, 0), bool), none, none, np.zeros(0), np.zeros(0, bool)
    )


def associate(tracks: Tracks, components: Components, world_from_ego: NDArray[np.float64], stamp_us: int) -> Tracks:
    """Finds each component among the tracks (same class, near its predicted place) and appends its position."""
    dt = (stamp_us - tracks.stamp_us) * 1e-6
    now = components.center @ world_from_ego[:2, :2].T + world_from_ego[:2, 3]
    remembered = _remembered(tracks, dt)
    match = _match(tracks, components, now, dt, remembered)
    unseen = np.setdiff1d(remembered, match[match >= 0])
    rows = np.concatenate([match, unseen])
    known = rows >= 0
    count = len(components)

    past = np.full((len(tracks.times_s), len(rows), 2), np.nan)
    past[:, known] = tracks.world_xy[:, rows[known]]
    newest = np.full((1, len(rows), 2), np.nan)
    newest[0, :count] = now
    was_whole = np.zeros(past.shape[:2], bool)
    was_whole[:, known] = tracks.whole[:, rows[known]]
    is_whole = np.zeros((1, len(rows)), bool)
    is_whole[0, :count] = ~components.at_border
    times = np.append(tracks.times_s - dt, 0.0)
    kept = times >= -max(HISTORY_S, 1.5 * dt)
    age = np.zeros(len(rows))
    age[known] = tracks.age_s[rows[known]] + dt
    return Tracks(
        stamp_us=stamp_us,
        times_s=times[kept],
        world_xy=np.concatenate([past, newest])[kept],
        whole=np.concatenate([was_whole, is_whole])[kept],
        class_id=np.concatenate([components.class_id, tracks.class_id[unseen]]),
        cells=np.concatenate([components.cells, tracks.cells[unseen]]),
        age_s=age,
        visible=np.arange(len(rows)) < count,
    )


def _remembered(tracks: Tracks, dt: float) -> NDArray[np.int64]:
    """Rows of the tracks that were seen recently enough to be found again."""
    if not len(tracks.times_s):
        return np.zeros(0, np.int64)
    seen = ~np.isnan(tracks.world_xy[..., 0])
    last = np.where(seen, tracks.times_s[:, None], -np.inf).max(axis=0)
    return np.flatnonzero(last - dt >= -max(FORGET_AFTER_S, 1.5 * dt))


def _match(
    tracks: Tracks,
    components: Components,
    now: NDArray[np.float64],
    dt: float,
    candidates: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each component the row of its track, or -1. Greedy over increasing cost, one to one."""
    match = np.full(len(components), -1, np.int64)
    if not len(candidates) or not len(components):
        return match
    positions = tracks.world_xy[:, candidates]
    seen = ~np.isnan(positions[..., 0])
    last = len(seen) - 1 - np.argmax(seen[::-1], axis=0)
    gap = dt - tracks.times_s[last]
    velocity = fit_velocity(tracks)[candidates]
    place = positions[last, np.arange(len(candidates))] + velocity * gap[:, None]
    distance = np.linalg.norm(now[:, None] - place[None], axis=-1)
    growth = np.abs(np.log(components.cells[:, None] / tracks.cells[candidates][None]))
    same_class = components.class_id[:, None] == tracks.class_id[candidates][None]
    cost = np.where(same_class & (distance < GATE_M + GATE_MPS * gap[None]), distance + 0.5 * growth, np.inf)
    taken = np.zeros(len(candidates), bool)
    order = np.argsort(cost, axis=None, kind="stable")
    for flat in order[: np.count_nonzero(np.isfinite(cost))]:
        row, column = divmod(int(flat), len(candidates))
        if match[row] < 0 and not taken[column]:
            match[row] = candidates[column]
            taken[column] = True
    return match


def fit_velocity(tracks: Tracks, over_s: float = HISTORY_S, *, whole: bool = True) -> NDArray[np.float64]:
    """Least-squares velocity in the world [n, 2] (m/s) over the last `over_s`; zero where it was seen once.

    At least the last two frames are used, however far apart they are; and with `whole` those alone in which it is
    whole, if they span WHOLE_OVER_S.
    """
    recent = tracks.times_s >= -over_s - 1e-6
    recent[-2:] = True
    t, xy = tracks.times_s[recent], tracks.world_xy[recent]
    seen = ~np.isnan(xy[..., 0])
    if whole:
        uncut = seen & tracks.whole[recent]
        seen = np.where(_span(t, uncut) >= WHOLE_OVER_S, uncut, seen)
    anchor = np.nan_to_num(np.nanmax(np.where(seen[..., None], xy, -np.inf), axis=0), neginf=0.0)
    weight = seen.astype(np.float64)
    t_mean = (weight * t[:, None]).sum(0) / np.maximum(weight.sum(0), 1)
    centred = (t[:, None] - t_mean) * weight
    spread = (centred**2).sum(0)
    slope = (centred[..., None] * np.where(seen[..., None], xy - anchor, 0.0)).sum(0)
    return np.where(spread[:, None] > 1e-4, slope / np.maximum(spread, 1e-4)[:, None], 0.0)


def _span(t: NDArray[np.float64], of: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Seconds from the first to the last frame in `of` [L, n], [n]; 0 where there is none."""
    first = np.where(of, t[:, None], np.inf).min(axis=0, initial=np.inf)
    span: NDArray[np.float64] = np.where(of, t[:, None], -np.inf).max(axis=0, initial=-np.inf) - first
    return np.where(of.any(axis=0), span, 0.0)


def measured_velocity(tracks: Tracks) -> NDArray[np.float64]:
    """What a tracker without learning would use: `fit_velocity`, over a shorter time for what is large, and zero where
    it is slow or too young."""
    large = np.isin(tracks.class_id, _LARGE)[:, None]
    velocity = np.where(large, fit_velocity(tracks, LARGE_OVER_S), fit_velocity(tracks))
    return _or_stands(tracks, velocity)


def centroid_velocity(tracks: Tracks) -> NDArray[np.float64]:
    """The same of a plain tracker: by the centroids of all frames, whatever the border cuts."""
    return _or_stands(tracks, fit_velocity(tracks, whole=False))


def _or_stands(tracks: Tracks, velocity: NDArray[np.float64]) -> NDArray[np.float64]:
    stands = (np.linalg.norm(velocity, axis=-1) < MOVES_ABOVE_MPS) | (tracks.age_s < TRUSTED_AFTER_S)
    return np.where(stands[:, None], 0.0, velocity)
