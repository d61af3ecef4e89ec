"""The gated tick against its dense twin, and what a stream of ticks may depend on.

Each check is also run on a deliberate fake, and must fail there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from genie.checkpoint_forecaster import zero_parts
from genie.data.scenes import Scene
from genie.data.sequence import Sequence
from genie.data.tracks import Boxes, SceneTracks
from genie.evaluation.report import to_json
from genie.evaluation.rollout import evaluate
from genie.forecaster import ForecastResult
from genie.gated import _remember
from genie.gated_forecaster import GatedForecaster
from genie.gated_state import Slots, empty_gated_state
from genie.memory import Overwritten
from genie.model import Forecast, GenieDrive
from genie.model_forecaster import plan_tensors, tick_tensors
from genie.observation import ObservedScene
from genie.sparse import Attended, attend_rows
from genie.state import empty_state
from perception.types import FREE
from tests.genie.gated_scenes import (
    CAR,
    DT_S,
    MANMADE,
    STREET,
    Box,
    View,
    car,
    frames_of,
    house,
    moment,
    observed,
    run_ticks,
    small_model,
    tick,
)

PLAIN = ("model.history=2", "model.gate.memory=frames", "model.gate.buckets=[2500]", "model.gate.keep=[1.0]")

pytestmark = pytest.mark.usefixtures("one_thread")


class Told(NamedTuple):
    """A forecast and the tokens behind it."""

    forecast: Forecast
    tokens: Tensor


def told_by(model: GenieDrive, run: Callable[[list[Forecast]], None]) -> list[Told]:
    """What `run` appends, with the tokens that each was told from."""
    tell, tokens, forecasts = model.tell, [], []

    def heard(*seen):
        tokens.append(seen[2][0])
        return tell(*seen)

    model.tell = heard  # type: ignore[method-assign]
    run(forecasts)
    model.tell = tell  # type: ignore[method-assign]
    return [Told(*both) for both in zip(forecasts, tokens, strict=True)]


def dense(model: GenieDrive, scenes: list[ObservedScene]) -> list[Told]:
    @torch.inference_mode()
    def run(forecasts: list[Forecast]) -> None:
        state = empty_state(model.config)
        for scene in scenes:
            forecast, state = model.step(*tick_tensors(scene), state, plan_tensors(None))
            forecasts.append(forecast)

    return told_by(model, run)


def gated(model: GenieDrive, scenes: list[ObservedScene]) -> list[Told]:
    def run(forecasts: list[Forecast]) -> None:
        state = empty_gated_state(model.config)
        for scene in scenes:
            forecast, state = tick(model, moment(model, scene, state), 2500)
            forecasts.append(forecast)

    return told_by(model, run)


# The dense twin


def scenes_that_change() -> list[ObservedScene]:
    """A standing ego; blocks and parked cars come and go."""
    rng = np.random.default_rng(0)
    views = []
    for n in range(5):
        blocks = [Box(MANMADE, tuple(rng.uniform(-38, 38, 2)), (2.0, 1.0), 3, 12) for _ in range(8)]
        views.append(View([*STREET, house(0.0), *blocks, car(10.0 + 13.0 * (n % 2)), car(-20.0)]))
    scenes = list(observed(views))
    assert all((scene.objects[:, 4:6] == 0).all() for scene in scenes), "nothing is known to move yet"
    return scenes


def check_equals_the_twin(*overrides: str) -> None:
    """At every tick of a stream."""
    model, scenes = small_model("model.layers=2", *PLAIN, *overrides), scenes_that_change()
    twins = zip(gated(model, scenes), dense(model, scenes), strict=True)
    for (ours, tokens), (plain, expected) in twins:
        torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.displacement, plain.displacement, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.trajectory, plain.trajectory, atol=1e-4, rtol=0)
        assert (ours.rows != plain.rows).float().mean() < 1e-4


def test_all_columns_all_heads_and_nothing_merged_equal_the_dense_twin() -> None:
    check_equals_the_twin()


@pytest.mark.parametrize(
    "fake",
    ["model.gate.memory=none", "model.gate.memory=slots", "model.gate.head_share=[1.0, 0.5]"],
)
def test_fake_without_memory_with_merging_or_fewer_heads_it_does_not(fake: str) -> None:
    with pytest.raises(AssertionError):
        check_equals_the_twin(fake)


def _zeroed(memory: Slots) -> Slots:
    return memory._replace(
        keys=tuple(torch.zeros_like(x) for x in memory.keys), values=tuple(torch.zeros_like(x) for x in memory.values)
    )


def _shuffled(memory: Slots) -> Slots:
    order = torch.randperm(2500, generator=torch.Generator().manual_seed(0))
    order = torch.cat([order, order + 2500])
    return memory._replace(keys=tuple(x[order] for x in memory.keys), values=tuple(x[order] for x in memory.values))


@pytest.mark.parametrize("sabotage", [_zeroed, _shuffled])
def test_fake_a_zeroed_or_shuffled_memory_does_not_equal_the_twin(
    sabotage: Callable[[Slots], Slots], monkeypatch: pytest.MonkeyPatch
) -> None:
    def remember(memory: Slots, overwritten: Overwritten, kind: str, model: GenieDrive) -> Slots:
        return sabotage(_remember(memory, overwritten, kind, model))

    monkeypatch.setattr("genie.gated._remember", remember)
    with pytest.raises(AssertionError):
        check_equals_the_twin()


# The pose of the ego


def check_the_cache_moves_with_the_ego(metres: float, told: Callable[[ObservedScene], ObservedScene]) -> None:
    """Columns that are not computed keep their keys bit by bit, taken from where they were: never interpolated."""
    model = small_model()
    street = [*STREET, house(0.3), house(14.3), Box(MANMADE, (7.0, -9.0), (1.5, 1.5), 2, 9)]
    first, second = observed([View(street), View(street, (metres, 0.0, 0.0))])
    _, before = run_ticks(model, [first])
    at = moment(model, told(second), before)
    _, after = tick(model, at, 64)
    kept = at.selection.order[64:]
    columns = round(metres / 1.6)
    assert len(kept) == 2436
    assert (kept < 2500 - 50 * columns).all(), "what came into the grid is computed"
    for new, old in ((after.keys[0], before.keys[0]), (after.values[0], before.values[0])):
        assert torch.equal(new[after.row[kept]], old[before.row[kept + 50 * columns]])


@pytest.mark.parametrize("metres", [1.7, 2.0, 0.5])
def test_the_cache_is_gathered_by_the_pose_of_the_ego(metres: float) -> None:
    check_the_cache_moves_with_the_ego(metres, lambda scene: scene)


@pytest.mark.parametrize("wrong", [-1.0, 0.0, 2.0])
def test_fake_with_a_wrong_pose_it_is_elsewhere(wrong: float) -> None:
    with pytest.raises(AssertionError):
        check_the_cache_moves_with_the_ego(1.7, lambda scene: scene._replace(ego_motion=wrong * scene.ego_motion))


def test_fake_keys_that_are_interpolated_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interpolated(*arguments) -> Attended:
        *first, cached, memory, config = arguments
        keys = tuple(0.9 * keys + 0.1 * keys.roll(1, dims=0) for keys in cached.keys)
        return attend_rows(*first, cached._replace(keys=keys), memory, config)

    monkeypatch.setattr("genie.gated.attend_rows", interpolated)
    with pytest.raises(AssertionError):
        check_the_cache_moves_with_the_ego(1.7, lambda scene: scene)


# Restart


def check_a_restart_forgets(restart: Callable[[ObservedScene], ObservedScene]) -> None:
    """After a gap the tick is that of a stream that starts here."""
    model = small_model("model.layers=2")
    *before, last = scenes_that_change()
    after, fresh = run_ticks(model, [*before, restart(last)]), run_ticks(model, [restart(last)])
    torch.testing.assert_close(after[0].displacement, fresh[0].displacement, atol=0, rtol=0)
    torch.testing.assert_close(after[1].tokens, fresh[1].tokens, atol=1e-6, rtol=0)


def restarted(scene: ObservedScene) -> ObservedScene:
    zero = np.zeros(1, np.float32)
    return scene._replace(continues=zero, dt=zero, ego_motion=np.zeros(3, np.float32))


def test_a_restart_forgets_everything() -> None:
    check_a_restart_forgets(restarted)


def test_fake_a_stream_that_goes_on_does_not_forget() -> None:
    with pytest.raises(AssertionError):
        check_a_restart_forgets(lambda scene: scene)


# The stream


def test_the_forecaster_takes_small_ticks_where_little_happens() -> None:
    model = small_model("model.layers=2")
    forecaster = GatedForecaster(model, "gated")
    for frame in frames_of([View([*STREET, house(0.0), car(-20.0 + 0.5 * n)]) for n in range(25)]):
        forecaster.observe(frame)
    forecaster.forecast(None)
    assert forecaster.buckets == {2500: 1, 64: 24}
    assert max(forecaster.needed[1:]) <= 12


# Moving voxels are scored apart


class Broken:
    """Forecasts as another does, with some voxels wiped out."""

    name = "broken"

    def __init__(self, inner: GatedForecaster, region: tuple[slice, slice]) -> None:
        self.inner, self.region = inner, region

    def reset(self) -> None:
        self.inner.reset()

    def observe(self, frame) -> None:
        self.inner.observe(frame)

    def forecast(self, ego_from_future) -> ForecastResult:
        told = self.inner.forecast(ego_from_future)
        semantics = told.semantics.copy()
        semantics[(slice(None), *self.region)] = FREE
        return ForecastResult(semantics, told.ego_from_future)


def one_car_drives() -> Scene:
    """At 5 m/s for four seconds, past a standing ego."""
    frames = list(frames_of([View([*STREET, house(0.0), car(-25.0 + 5.0 * DT_S * n, -2.2)]) for n in range(45)]))
    stamps = np.array([frame.stamp_us for frame in frames])
    one = np.ones(1, np.int64)
    boxes = tuple(
        Boxes(
            one, CAR * one, np.array([[-25.0 + 5.0 * DT_S * n, -2.2, 0.6]]), np.array([[4.6, 1.9, 1.6]]), np.zeros(1),
            np.array([[5.0, 0.0]]),
        )
        for n in range(len(frames))
    )  # fmt: skip
    semantics = np.stack([frame.occupancy.semantics for frame in frames if frame.occupancy])
    poses = np.stack([frame.world_from_ego for frame in frames])
    return Scene(Sequence("scene-0001", semantics, stamps, poses, Path("nowhere")), SceneTracks(stamps, boxes))


def scores_of(forecaster: GatedForecaster | Broken, scene: Scene) -> dict[str, float]:
    with torch.inference_mode():
        return to_json(evaluate(forecaster, [scene], "stream"))["horizons"]["1.0"]


def check_only_the_moving_score_suffers(good: dict[str, float], bad: dict[str, float]) -> None:
    assert bad["miou_moving"] < good["miou_moving"] - 20.0
    assert abs(bad["miou_static"] - good["miou_static"]) < 1.0


def test_who_freezes_movers_loses_on_the_moving_score_alone() -> None:
    def model() -> GenieDrive:
        return zero_parts(small_model(), ("correction", "invention"))

    scene = one_car_drives()
    good = scores_of(GatedForecaster(model(), "good"), scene)
    frozen = scores_of(GatedForecaster(zero_parts(model(), ("motion",)), "frozen"), scene)
    check_only_the_moving_score_suffers(good, frozen)
    with pytest.raises(AssertionError):
        check_only_the_moving_score_suffers(good, good)
    without_walls = scores_of(Broken(GatedForecaster(model(), "x"), (slice(None), slice(120, 200))), scene)
    with pytest.raises(AssertionError):
        check_only_the_moving_score_suffers(good, without_walls)
