"""MOBIL: whether a lane change is safe, and worth it for the driver and for those around.

Kesting, Treiber, Helbing, "General lane-changing model MOBIL for car-following models" (2007), symmetric rules. A
driver changes if nobody has to brake harder than `SAFE_BRAKING` for it, and if
a'_self - a_self + politeness * (a'_new - a_new + a'_old - a_old) > THRESHOLD, where a are car-following accelerations
before and after (') of the driver itself and of the followers in the new and the old lane.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.car_following import Drivers, follow, free_road
from genie.data.synth.polylines import Array

SAFE_BRAKING = 2.5  # m/s2
THRESHOLD = 0.15  # m/s2 that a change has to gain
ROUTE_GAIN = 1.2  # m/s2 that it is worth to be in the lane that the route wants
PULL_OUT = 1.6  # s until a car has left its lane: it must not meet the one in front before
ROOM = 1.0  # m to either neighbour at the least
Index = NDArray[np.int64]


class Queue(NamedTuple):
    """All vehicles as they stand in their segments. front, rear: m from the centre to both ends. wanted: m/s."""

    segment: Index
    s: Array
    speed: Array
    front: Array
    rear: Array
    wanted: Array
    drivers: Drivers


class Neighbours(NamedTuple):
    """Indices of the vehicles next ahead of and behind a place, -1 where there is none; gaps from centre to centre."""

    leader: Index
    follower: Index
    ahead: Array
    behind: Array


class Approach(NamedTuple):
    """Per segment: who comes next over a junction into it (-1: nobody), and how far before its start (m)."""

    vehicle: Index
    distance: Array


def worth(
    queue: Queue, approach: Approach, who: Index, target: Index, at: Array, politeness: Array, bonus: Array
) -> Array:
    """What the changes gain, [m] (m/s2 above the threshold); -inf where one is not safe.

    Args:
        who: vehicles that consider a change, [m].
        target, at: the segment and the arc length (m) of the place beside them, [m].
        politeness: weight of the followers, [m].
        bonus: m/s2 that the driver's route adds, [m].
    """
    order = np.lexsort((queue.s, queue.segment))
    none = Approach(np.full(len(approach.vehicle), -1), approach.distance)
    new = _neighbours(queue, order, approach, target, at, who)
    old = _neighbours(queue, order, none, queue.segment[who], queue.s[who], who)

    own_before = _behind(queue, who, old.leader, old.ahead)
    own_after = _behind(queue, who, new.leader, new.ahead)
    new_before = _behind(queue, new.follower, new.leader, new.ahead + new.behind)
    new_after = _behind(queue, new.follower, who, new.behind)
    old_before = _behind(queue, old.follower, who, old.behind)
    old_after = _behind(queue, old.follower, old.leader, old.ahead + old.behind)

    room_ahead, room_behind = _room(queue, who, new.leader, new.ahead), _room(queue, new.follower, who, new.behind)
    closing = np.maximum(queue.speed[who] - queue.speed[old.leader], 0.0)
    pulls_out = (old.leader < 0) | (_room(queue, who, old.leader, old.ahead) > ROOM + PULL_OUT * closing)
    safe = (room_ahead > ROOM) & (room_behind > ROOM) & (np.minimum(new_after, own_after) > -SAFE_BRAKING) & pulls_out
    others = new_after - new_before + old_after - old_before
    gain = own_after - own_before + politeness * others + bonus - THRESHOLD
    return np.where(safe, gain, -np.inf)


def _neighbours(queue: Queue, order: Index, approach: Approach, segment: Index, at: Array, who: Index) -> Neighbours:
    """Next ahead and behind in a segment, the vehicle itself apart; behind its start: who comes over the junction."""
    scale = float(queue.s.max(initial=0.0)) + 1e3
    keys = (queue.segment * scale + queue.s)[order]
    here = segment * scale + at
    low, high = np.searchsorted(keys, here, "left"), np.searchsorted(keys, here, "right")
    own = queue.segment[who] == segment  # its own key lies at low .. high
    low = np.where(own, np.minimum(low, high - 1), low)
    padded = np.concatenate([order, [-1]])
    leader = padded[np.minimum(high, len(order))]
    leader = np.where((leader >= 0) & (queue.segment[leader] == segment), leader, -1)
    follower = np.where(low > 0, padded[low - 1], -1)
    follower = np.where((follower >= 0) & (queue.segment[follower] == segment), follower, -1)
    ahead = np.where(leader >= 0, queue.s[leader] - at, np.inf)
    behind = np.where(follower >= 0, at - queue.s[follower], at + approach.distance[segment])
    follower = np.where(follower >= 0, follower, approach.vehicle[segment])
    return Neighbours(leader, follower, ahead, np.where(follower >= 0, behind, np.inf))


def _room(queue: Queue, who: Index, leader: Index, apart: Array) -> Array:
    """Bumper to bumper (m); inf where either is missing."""
    return np.where((who >= 0) & (leader >= 0), apart - queue.front[who] - queue.rear[leader], np.inf)


def _behind(queue: Queue, who: Index, leader: Index, apart: Array) -> Array:
    """Car-following acceleration [m] of `who` behind `leader`, 0 where there is no `who`."""
    drivers, speed = queue.drivers.pick(who), queue.speed[who]
    free = free_road(drivers, speed, queue.wanted[who])
    out = follow(drivers, speed, free, _room(queue, who, leader, apart), queue.speed[leader])
    return np.where(who >= 0, out, 0.0)
