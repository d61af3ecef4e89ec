"""Attention for selected columns: that it is sparse indeed, and that what it leaves out cannot reach the result.

Each check is also run on a deliberate fake, and must fail there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genie.attention import Attention, KeyBlock, KeysValues, Places, places
from genie.gated_state import GatedState
from genie.model import GenieDrive
from genie.sparse import Attended, attend_rows, head_rows, kept_rows
from perception.types import FREE, MOVABLE
from tests.genie.gated_scenes import (
    MANMADE,
    STREET,
    Moment,
    View,
    house,
    moment,
    observed,
    run_ticks,
    semantics_of,
    small_model,
    tick,
)

K = 64
Tick = Callable[[GenieDrive, Moment, int], tuple[object, GatedState]]

pytestmark = pytest.mark.usefixtures("one_thread")


def event(model: GenieDrive) -> Moment:
    """A standing ego, and then blocks appear in some 30 columns."""
    before = semantics_of(View([*STREET, house(0.0)]))
    after = before.copy()
    rng = np.random.default_rng(0)
    for x, y in rng.integers(0, 50, (30, 2)):
        after[4 * x : 4 * x + 4, 4 * y : 4 * y + 4, 4:12] = MANMADE
    *quiet, last = observed([before, before, after])
    at = moment(model, last, run_ticks(model, quiet, K)[1])
    assert 20 < int(at.selection.needed) < K
    return at


def unselected(at: Moment, k: int) -> Tensor:
    return at.selection.order[k:]


def same(a: Tensor, b: Tensor) -> bool:
    """Bit by bit, and finite."""
    return bool(torch.equal(a, b)) and bool(torch.isfinite(a.double()).all())


def parts_of(state: GatedState) -> dict[str, Tensor]:
    """What a tick leaves behind, by name, one row a column."""
    parts = {"encoded": state.encoded, "tokens": state.tokens}
    for name, caches in (("keys", state.keys), ("values", state.values)):
        parts |= {f"{name} {layer}": cache[state.row] for layer, cache in enumerate(caches)}
    return parts


def masked_tick(model: GenieDrive, at: Moment, k: int) -> tuple[object, GatedState]:
    """A fake: computes every column, and throws away by a mask what was not selected."""
    forecast, full = tick(model, at, model.config.gate.buckets[-1])
    mask = torch.zeros(len(full.encoded)).index_put((at.selection.order[:k],), torch.ones(k)).unsqueeze(1)

    def masked(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(mask > 0.5, new, old[at.selection.source])

    before = at.state

    def masked_caches(new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(masked(a[full.row], b[before.row]) for a, b in zip(new, old, strict=True))

    return forecast, full._replace(
        keys=masked_caches(full.keys, before.keys),
        values=masked_caches(full.values, before.values),
        row=torch.arange(len(mask)),
        encoded=masked(full.encoded, before.encoded),
        tokens=masked(full.tokens, before.tokens),
    )


# What is not selected is not read


def with_garbage_seen(at: Moment) -> Moment:
    """The present observation of unselected columns is replaced by noise of other classes, after scoring."""
    rows = at.occupancy.rows.clone().reshape(50, 4, 50, 4, 4).transpose(1, 2).reshape(2500, 16, 4)
    classes = torch.tensor([c for c in range(FREE) if c not in MOVABLE], dtype=torch.uint8)
    some = torch.randint(len(classes), (2500 - K, 16, 16), generator=torch.Generator().manual_seed(0))
    rows[unselected(at, K)] = classes[some].view(torch.int32)
    rows = rows.reshape(50, 50, 4, 4, 4).transpose(1, 2).reshape(200, 200, 4)
    return at._replace(occupancy=at.occupancy._replace(rows=rows))


def without_forecast(model: GenieDrive) -> GenieDrive:
    """Tells the same whatever the tokens are: NaN has no trajectory."""
    tell = model.tell
    model.tell = lambda seen, ego, tokens, plan: tell(seen, ego, torch.zeros_like(tokens), plan)  # type: ignore[method-assign]
    return model


def check_unselected_observations_are_not_read(run: Tick) -> None:
    model = small_model("model.layers=2")
    at = event(model)
    poisoned = with_garbage_seen(at)
    assert (poisoned.occupancy.rows != at.occupancy.rows).any(-1).sum() > 30_000
    clean, dirty = parts_of(run(model, at, K)[1]), parts_of(run(model, poisoned, K)[1])
    assert [name for name in clean if not same(clean[name], dirty[name])] == []


def test_what_unselected_columns_show_changes_nothing() -> None:
    check_unselected_observations_are_not_read(tick)


def test_fake_a_mask_over_all_columns_reads_them() -> None:
    with pytest.raises(AssertionError):
        check_unselected_observations_are_not_read(masked_tick)


def check_unselected_outputs_are_not_read(run: Tick) -> None:
    """What the tokeniser and the last layer once said of unselected columns is NaN: attention reads keys and values."""
    model = without_forecast(small_model("model.layers=2"))
    at = event(model)
    assert torch.equal(at.selection.source, torch.arange(2500))
    gone = (unselected(at, K),)
    nan = torch.full((2500 - K, model.config.width), torch.nan)
    state = at.state._replace(
        encoded=at.state.encoded.index_put(gone, nan), tokens=at.state.tokens.index_put(gone, nan)
    )
    rows = at.selection.order[: kept_rows(K, 2, model.config.gate)[-1]]
    clean, dirty = run(model, at, K)[1], run(model, at._replace(state=state), K)[1]
    for a, b in ((clean.keys, dirty.keys), (clean.values, dirty.values)):
        assert all(same(x, y) for x, y in zip(a, b, strict=True))
    assert same(clean.tokens[rows], dirty.tokens[rows]) and same(clean.memory.tokens, dirty.memory.tokens)


def test_outputs_of_unselected_columns_may_be_nan() -> None:
    check_unselected_outputs_are_not_read(tick)


def test_fake_a_mask_that_multiplies_spreads_nan() -> None:
    def multiplied(model: GenieDrive, at: Moment, k: int) -> tuple[object, GatedState]:
        forecast, after = tick(model, at, k)
        mixed = after.tokens + 0.0 * at.state.tokens.sum(dim=0)
        return forecast, after._replace(tokens=mixed)

    with pytest.raises(AssertionError):
        check_unselected_outputs_are_not_read(multiplied)


# What is not selected stays


def check_the_cache_stays(run: Tick) -> None:
    model = small_model("model.layers=2")
    at = event(model)
    after, before = parts_of(run(model, at, K)[1]), parts_of(at.state)
    kept = kept_rows(K, 2, model.config.gate)
    assert kept == [K, 45]
    for name in after:
        computed = kept[0] if name == "encoded" or name.endswith(" 0") else kept[1]
        rest = unselected(at, computed)
        assert same(after[name][rest], before[name][at.selection.source][rest]), name
        changed = at.selection.order[: int(at.selection.needed)]
        assert not torch.isclose(after[name][changed], before[name][changed]).all(dim=1).any(), f"{name} not computed"


def test_unchanged_columns_are_bit_identical_to_the_cache() -> None:
    check_the_cache_stays(tick)


def test_fake_a_cache_that_decays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def decayed(*arguments: object) -> Attended:
        told = attend_rows(*arguments)  # type: ignore[arg-type]
        return told._replace(keys=tuple(0.9999 * keys for keys in told.keys))

    monkeypatch.setattr("genie.gated.attend_rows", decayed)
    with pytest.raises(AssertionError, match="keys"):
        check_the_cache_stays(tick)


def test_fake_a_tick_that_computes_everything_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_the_cache_stays(lambda model, at, k: tick(model, at, model.config.gate.buckets[-1]))


# Retention and heads


def check_a_deep_layer_keeps_to_its_rows() -> None:
    """Its weights are poisoned: what it does not compute falls back to the cache."""
    model = without_forecast(small_model("model.layers=2", "model.gate.keep=[1.0, 0.5]"))
    at = event(model)
    beyond = at.selection.order[K // 2 :]
    clean = tick(model, at, K)[1].tokens
    for parameter in model.stack[1].parameters():
        nn.init.constant_(parameter, torch.nan)
    dirty = tick(model, at, K)[1].tokens
    assert dirty[at.selection.order[: K // 2]].isnan().all()
    assert same(clean[beyond], dirty[beyond])


def test_poisoned_weights_of_a_layer_do_not_reach_rows_that_it_drops() -> None:
    check_a_deep_layer_keeps_to_its_rows()


def test_fake_retention_that_computes_all_rows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sparse", "gated"):
        monkeypatch.setattr(f"genie.{module}.kept_rows", lambda k, layers, config: [k] * layers)
    with pytest.raises(AssertionError):
        check_a_deep_layer_keeps_to_its_rows()


def check_unused_heads_reach_nothing() -> None:
    """The second head reads for the first half of the rows alone; its weights are poisoned."""
    model = without_forecast(small_model("model.gate.head_share=[1.0, 0.5]", "model.gate.keep=[1.0]"))
    at = event(model)
    attention = model.stack[0].attention
    assert attention.heads == 2 and head_rows(K, 2, model.config.gate) == [K, K // 2]
    used, unused = at.selection.order[: K // 2], at.selection.order[K // 2 : K]
    clean = tick(model, at, K)[1].tokens
    with torch.no_grad():
        attention.query.weight[attention.query.out_features // 2 :] = torch.nan
        attention.out.weight[:, model.config.width // 2 :] = torch.nan
    dirty = tick(model, at, K)[1].tokens
    assert dirty[used].isnan().all()
    assert same(clean[unused], dirty[unused])


def test_poisoned_weights_of_unused_heads_change_nothing() -> None:
    check_unused_heads_reach_nothing()


def test_fake_heads_that_are_multiplied_by_a_mask_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attention, "of_rows", _masked_heads)
    with pytest.raises(AssertionError):
        check_unused_heads_reach_nothing()


_of_rows = Attention.of_rows


def _masked_heads(self: Attention, queries, query_place, blocks, first):
    """Every head reads for every row; what was not asked for is multiplied by zero."""
    rows = queries.shape[1]
    without = _of_rows(self, queries, query_place, blocks, [rows, 0])
    both = _of_rows(self, queries, query_place, blocks, [rows, rows])
    mask = (torch.arange(rows) < first[1]).float().reshape(1, -1, 1)
    return without + mask * (both - without)


def check_rows_equal_the_plain_attention(first: list[int]) -> None:
    """`of_rows` over two blocks against `forward` over their union."""
    torch.manual_seed(1)
    attention = Attention(32, 2)
    queries, position = torch.randn(1, 20, 32), 50 * torch.rand(1, 90, 2)
    read = KeysValues(torch.randn(1, 90, 24), torch.randn(1, 90, 32))
    readable = torch.rand(1, 90) < 0.7
    place = places(position, 2, 16)
    asked = Places(*(x[:, :20] for x in place))
    plain = attention(queries, asked, read, place, readable)
    bias = torch.where(readable, 0.0, -1e4)
    blocks = [
        KeyBlock(
            KeysValues(read.keys[:, part], read.values[:, part]), Places(*(x[:, part] for x in place)), bias[:, part]
        )
        for part in (slice(0, 60), slice(60, 90))
    ]
    torch.testing.assert_close(attention.of_rows(queries, asked, blocks, first), plain, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_rows_over_blocks_equal_the_plain_attention() -> None:
    check_rows_equal_the_plain_attention([20, 20])


@torch.inference_mode()
def test_fake_a_head_that_reads_for_fewer_rows_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_rows_equal_the_plain_attention([20, 10])
