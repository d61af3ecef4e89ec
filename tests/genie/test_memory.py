"""Temporal memory fusion: merging equal tokens changes nothing, unlike ones stay apart, and what is there is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from genie.columns import column_centers, whole_grid
from genie.config import GateConfig, ModelConfig
from genie.gated_state import Slots, empty_slots
from genie.memory import Overwritten, advance_slots, fuse, push
from genie.model import GenieDrive
from genie.sparse import Cached, attend_rows
from tests.genie.gated_scenes import small_model

NEW = 12  # tokens a tick
CONFIG = ModelConfig(width=16, heads=2, layers=1, gate=GateConfig(slots=32))
Change = Callable[[Slots], Slots]


@pytest.fixture(autouse=True)
def no_gradients(one_thread: None) -> Iterator[None]:
    with torch.inference_mode():
        yield


def overwritten(seed: int = 0, count: int = NEW) -> Overwritten:
    """Tokens far apart, unlike each other."""
    random = torch.Generator().manual_seed(seed)
    xy = torch.stack([6.0 * (torch.arange(count) % NEW) - 36.0, torch.zeros(count)], dim=1)
    return Overwritten(
        torch.randn(count, 16, generator=random), xy, (torch.arange(count) % 2).float(), torch.ones(count)
    )


def fused(new: list[Overwritten], config: GateConfig = CONFIG.gate) -> Slots:
    slots = empty_slots(CONFIG)
    for each in new:
        slots = fuse(slots, each, config)
    return slots


def pushed(new: list[Overwritten], model: GenieDrive) -> Slots:
    frames = ModelConfig(width=16, heads=2, layers=1, history=1, gate=GateConfig(memory="frames"))
    slots = empty_slots(frames)
    for each in new:
        slots = push(slots, each, model.stack)
    return slots


def attended(model: GenieDrive, memory: Slots) -> Tensor:
    """What 64 columns make of a memory, beside a cache of which little is filled."""
    random = torch.Generator().manual_seed(3)
    order = torch.cat([torch.arange(s, 2500, 40) for s in range(40)])
    cached = Cached(
        (torch.randn(2500, 8, generator=random),),
        (torch.randn(2500, 16, generator=random),),
        order,
        column_centers(whole_grid())[0][order],
        (order % 50 == 0).float(),
    )
    encoded = torch.randn(64, 16, generator=random)
    return attend_rows(model.stack, encoded, cached, memory, model.config.gate).tokens


# Merging


def check_merging_equals_keeping(change: Change) -> None:
    """The same tokens arrive three times: merged into twelve slots, or kept thirty-six times."""
    model, new = small_model(), [overwritten()] * 3
    merged, kept = fused(new), pushed(new, model)
    assert merged.stands_for.sort(descending=True).values[: NEW + 1].tolist() == [3.0] * NEW + [0.0]
    assert int((kept.stands_for > 0.5).sum()) == 3 * NEW
    assert (attended(model, merged) - attended(model, empty_slots(CONFIG))).abs().max() > 1e-2, "it is not read"
    torch.testing.assert_close(attended(model, change(merged)), attended(model, kept), atol=1e-5, rtol=1e-5)


def test_merging_exact_duplicates_equals_not_merging() -> None:
    check_merging_equals_keeping(lambda slots: slots)


@pytest.mark.parametrize(
    "change",
    [
        lambda slots: slots._replace(stands_for=(slots.stands_for > 0.5).float()),  # without the logarithm of the count
        lambda slots: slots._replace(stands_for=slots.stands_for.square()),
        lambda slots: slots._replace(xy=slots.xy.flip(0)),
    ],
)
def test_fake_merging_of_another_weight_is_noticed(change: Change) -> None:
    with pytest.raises(AssertionError):
        check_merging_equals_keeping(change)


def check_unlike_tokens_stay_apart(config: GateConfig) -> None:
    """A rare token among common ones; and the same token as something that moves, or far away."""
    one = overwritten(count=1)
    for other in (
        overwritten(seed=1, count=1),
        one._replace(moving=1.0 - one.moving),
        one._replace(xy=one.xy + 8.0),
    ):
        slots = fused([one, one, other], config)
        assert sorted(slots.stands_for.tolist())[-2:] == [1.0, 2.0]
        arrived = slots.tokens[slots.stands_for == 1.0]
        assert torch.equal(arrived, other.tokens)


def test_unlike_tokens_are_not_merged() -> None:
    check_unlike_tokens_stay_apart(CONFIG.gate)


def test_fake_a_memory_that_merges_anything_loses_the_rare() -> None:
    with pytest.raises(AssertionError):
        check_unlike_tokens_stay_apart(GateConfig(slots=32, merge_above=-10.0))


def test_slots_hold_the_mean_of_what_they_stand_for() -> None:
    one = overwritten(count=1)
    slots = fused([one, one._replace(tokens=1.02 * one.tokens, xy=one.xy + 0.4), one])
    (best,) = torch.nonzero(slots.stands_for == 3.0).flatten().tolist()
    torch.testing.assert_close(slots.tokens[best], one.tokens[0] * (3.02 / 3.0))
    torch.testing.assert_close(slots.xy[best], one.xy[0] + 0.4 / 3.0)


def test_what_was_never_computed_is_not_remembered() -> None:
    new = overwritten()
    half = new._replace(valid=(torch.arange(NEW) < 5).float(), tokens=new.tokens)
    assert fused([half]).stands_for.sum() == 5.0
    assert pushed([half], small_model()).stands_for.sum() == 5.0


def test_a_full_memory_gives_up_what_matters_least() -> None:
    """32 slots, 16 of them at most for what is new in one tick; two tokens came often, and stay."""
    often = overwritten(count=2)
    slots = fused([often] * 9)
    for seed in range(10, 20):
        new = overwritten(seed, 40)
        before = slots
        slots = fuse(advance_slots(slots, torch.zeros(3), torch.ones(1), torch.tensor([0.1])), new, CONFIG.gate)
        taken = (slots.tokens != before.tokens).any(dim=1).sum()
        assert taken <= CONFIG.gate.novel_per_tick
    assert (slots.stands_for > 0.5).all()
    kept = torch.cdist(often.tokens, slots.tokens).min(dim=1)
    assert kept.values.max() < 1e-2 and slots.stands_for[kept.indices].min() >= 9.0


# Slots and the ego


def test_slots_move_with_the_ego_and_a_restart_empties_them() -> None:
    slots = fused([overwritten()])
    quarter = torch.tensor([1.0, 2.0, torch.pi / 2])
    moved = advance_slots(slots, quarter, torch.ones(1), torch.tensor([0.5]))
    expected = torch.stack([1.0 - slots.xy[:, 1], 2.0 + slots.xy[:, 0]], dim=1)
    torch.testing.assert_close(moved.xy, expected)
    torch.testing.assert_close(moved.age, slots.age + 0.5)
    flushed = advance_slots(slots, torch.zeros(3), torch.zeros(1), torch.tensor([0.5]))
    model = small_model()
    assert torch.equal(
        attended(model, flushed._replace(xy=slots.xy)),
        attended(model, slots._replace(stands_for=torch.zeros_like(slots.stands_for))),
    )


# What is there is read


def emptied(slots: Slots) -> Slots:
    return slots._replace(tokens=torch.zeros_like(slots.tokens))


def shuffled(slots: Slots) -> Slots:
    return slots._replace(tokens=slots.tokens.roll(1, dims=0))


def misplaced(slots: Slots) -> Slots:
    """As a wrong ego pose would leave them."""
    return slots._replace(xy=slots.xy + 10.0)


def check_memory_is_read(change: Change, read: Callable[[GenieDrive, Slots], Tensor]) -> None:
    """What is changed comes out farther from what keeping everything would give."""
    model, new = small_model(), [overwritten(), overwritten(1)]
    truth, slots = read(model, pushed(new, model)), fused(new)
    right = (read(model, slots) - truth).abs().max()
    wrong = (read(model, change(slots)) - truth).abs().max()
    assert wrong > 100 * right + 1e-3


@pytest.mark.parametrize("change", [emptied, shuffled, misplaced])
def test_a_zeroed_shuffled_or_misplaced_memory_is_worse(change: Change) -> None:
    check_memory_is_read(change, attended)


@pytest.mark.parametrize("change", [emptied, shuffled, misplaced])
def test_fake_a_memory_that_nobody_reads_is_noticed(change: Change) -> None:
    def unread(model: GenieDrive, slots: Slots) -> Tensor:
        return attended(model, slots._replace(stands_for=torch.zeros_like(slots.stands_for)))

    with pytest.raises(AssertionError):
        check_memory_is_read(change, unread)
