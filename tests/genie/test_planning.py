"""Planning metrics: distances and collisions of a trajectory that is known to be wrong by so much."""

from __future__ import annotations

import numpy as np
import pytest

from calib.transforms import apply, inverse, se3_from_xyz_yaw
from genie.data.scenes import Scene
from genie.data.sequence import Sequence
from genie.data.tracks import Boxes, SceneTracks
from genie.evaluation.planning import (
    EGO_AHEAD_M,
    EGO_LENGTH_M,
    EGO_WIDTH_M,
    PlanningCount,
    PlanningScores,
    collides,
)
from genie.evaluation.rollout import evaluate
from genie.forecaster import ForecastResult
from perception.types import CLASS_NAMES, FREE, GRID, HORIZONS_S, SensorFrame
from tests.genie.test_evaluation import drive

CAR, ROAD = CLASS_NAMES.index("car"), CLASS_NAMES.index("driveable_surface")


def boxes(x: list[float], y: float, class_id: int = CAR, yaw: float = 0.0) -> Boxes:
    n = len(x)
    return Boxes(
        instance=np.arange(n),
        class_id=np.full(n, class_id),
        center_world=np.stack([np.array(x), np.full(n, y), np.ones(n)], -1),
        size_lwh=np.tile([4.5, 1.9, 1.6], (n, 1)),
        yaw_world=np.full(n, yaw),
        velocity_world=np.zeros((n, 2)),
    )


class Off:
    """Forecasts the true trajectory, turned by so much and shifted to the left by so much a second."""

    name = "off"

    def __init__(self, sequence: Sequence, left_mps: float, turn: float = 0.0) -> None:
        self.sequence, self.left_mps, self.turn = sequence, left_mps, turn

    def reset(self) -> None: ...

    def observe(self, frame: SensorFrame) -> None:
        self.t = int(np.searchsorted(self.sequence.timestamp_us, frame.stamp_us))

    def forecast(self, ego_from_future: np.ndarray | None) -> ForecastResult:
        assert ego_from_future is None, "the plan must be the forecaster's own"
        poses = self.sequence.world_from_ego
        later = self.t + 5 * np.arange(1, len(HORIZONS_S) + 1)
        shift = np.array([[0.0, self.left_mps * s, 0.0] for s in HORIZONS_S])
        told = se3_from_xyz_yaw(shift, np.full(len(shift), self.turn)) @ (inverse(poses[self.t]) @ poses[later])
        return ForecastResult(np.full((len(later), *GRID.shape), FREE, np.uint8), told)


def scores(left_mps: float, standing: Boxes | None = None, turn: float = 0.0) -> PlanningScores:
    sequence = drive(61, 10.0)
    tracks = None
    if standing is not None:
        tracks = SceneTracks(sequence.timestamp_us[[0, -1]], (standing, standing))
    count = PlanningCount()
    evaluate(Off(sequence, left_mps, turn), [Scene(sequence, tracks)], "stream", ego="predicted", on_window=count.add)
    return count.result()


def test_distance_at_the_instant_and_up_to_it() -> None:
    found = scores(0.5)
    assert found.windows == 4
    np.testing.assert_allclose(found.l2_m, 0.5 * np.array(HORIZONS_S))
    np.testing.assert_allclose(found.l2_m_mean[[1, 3, 5]], [0.375, 0.625, 0.875])
    np.testing.assert_allclose(found.heading_deg, 0.0, atol=1e-9)
    assert found.collision_percent is None, "nothing is annotated"


def test_heading_is_that_of_the_trajectory() -> None:
    np.testing.assert_allclose(scores(0.0, turn=np.radians(-3.0)).heading_deg, 3.0)


def test_a_parked_car_beside_the_road_is_hit_by_those_that_drift_into_it() -> None:
    parked = boxes([4.0 * t for t in range(20)], 3.0)  # a row of them; the ego passes 2 m beside their sides
    assert scores(0.0, parked).collision_percent == pytest.approx(np.zeros(6))
    drifting = scores(1.0, parked)  # after 1.2 s its side is within theirs
    assert drifting.collision_percent == pytest.approx([0, 0, 100, 100, 100, 100])
    assert drifting.collision_percent_mean == pytest.approx([0, 0, 100 / 3, 50, 60, 200 / 3])
    assert scores(1.0, boxes([4.0 * t for t in range(20)], 3.0, ROAD)).collision_percent == pytest.approx(np.zeros(6))


def test_where_the_true_trajectory_collides_nothing_is_judged() -> None:
    assert scores(0.1, boxes([4.0 * t for t in range(20)], 0.0)).collision_percent == pytest.approx(np.zeros(6))


def test_overlap_is_that_of_points_in_both_rectangles() -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 80), np.linspace(-0.5, 0.5, 80)), -1).reshape(-1, 2)
    hits = 0
    for _ in range(300):
        x, y, yaw, other = rng.uniform([-5, -5, -4, -4], [5, 5, 4, 4])
        pose = se3_from_xyz_yaw(np.array([x, y, 0.3]), yaw)
        car = boxes([0.5], -0.3, yaw=other)
        points = grid * [EGO_LENGTH_M, EGO_WIDTH_M] + [EGO_AHEAD_M, 0.0]
        world = apply(pose, np.concatenate([points, np.zeros((len(points), 1))], 1))
        inside = apply(inverse(se3_from_xyz_yaw(car.center_world[0], other)), world)[:, :2]
        sampled = (np.abs(inside) <= car.size_lwh[0, :2] / 2).all(1).any()
        found = bool(collides(pose, car)[0])
        hits += found
        if found != sampled:  # only a corner that falls between the points
            grown = (np.abs(inside) <= car.size_lwh[0, :2] / 2 + 0.06).all(1).any()
            assert found and grown
    assert 60 < hits < 240
