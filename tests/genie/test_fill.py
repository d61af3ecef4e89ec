"""What is invented beyond the border: from which columns, and by which losses it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genie.border import AROUND, around_border, border_rows, read_columns
from genie.decoder import FIRST_CLASS, GROUND_GOES_ON, OPTIONS, STANDING_GOES_ON, STATIC, GoesOn, Invention, goes_on
from genie.inputs import model_inputs
from genie.observation import observe, start_observer
from genie.rows import as_voxels
from genie.training.fill import fill_likelihood, fill_overlap
from perception.types import CLASS_NAMES, FREE, GRID, Occupancy, SensorFrame

ROAD, WALK = (CLASS_NAMES.index(name) for name in ("driveable_surface", "sidewalk"))
SIDE = 25


def sure(choice: torch.Tensor) -> torch.Tensor:
    """Logits [1, R, 4, 16, O] that all but say `choice` [R]."""
    logits = 30.0 * torch.nn.functional.one_hot(choice, OPTIONS).float()
    return logits[None, :, None, None].expand(1, -1, 4, 16, -1)


def test_around_a_border_column_lies_what_is_inwards_of_it_and_along_the_border() -> None:
    around = around_border(SIDE)
    rows = border_rows(SIDE).reshape(SIDE, SIDE)
    assert around.shape == (4 * SIDE - 4, len(AROUND))
    for x, y, inwards in ((0, 12, (1, 0)), (SIDE - 1, 12, (-1, 0)), (12, 0, (0, 1)), (12, SIDE - 1, (0, -1))):
        found = {divmod(int(flat), SIDE) for flat in around[rows[x, y]]}
        assert (x, y) in found
        assert {(x + n * inwards[0], y + n * inwards[1]) for n in (2, 5, 9)} <= found
        assert {(x + n * inwards[1], y + n * inwards[0]) for n in (-10, -5, -2, 2, 5, 10)} <= found
    columns, place = read_columns(SIDE)
    assert np.array_equal(columns[place], around) and len(np.unique(columns)) == len(columns)


@pytest.mark.parametrize(("seen", "reaches"), [((2, 12), True), ((0, 17), True), ((15, 12), False)])
def test_what_is_invented_follows_from_the_columns_around_its_border_column(
    seen: tuple[int, int], reaches: bool
) -> None:
    torch.manual_seed(0)
    invention = Invention(16, 8).eval()
    for linear in (invention.context[-1], invention.logits):
        assert isinstance(linear, torch.nn.Linear)
        torch.nn.init.normal_(linear.weight)
    tokens = torch.randn(1, SIDE * SIDE, 16)
    other = tokens.clone()
    other[0, seen[0] * SIDE + seen[1]] += 1.0
    beyond = torch.tensor([[[-3, 12]]])
    told, changed = (invention(each, SIDE, beyond) for each in (tokens, other))
    assert (not torch.equal(told, changed)) == reaches


def test_before_anything_is_learned_the_ground_goes_on() -> None:
    invention = Invention(16, 8).eval()
    position = torch.tensor([[[-3, 12], [30, 30]]])
    standing, ground = (torch.full((1, 4 * SIDE + 4, 16, 16), value, dtype=torch.int32) for value in (WALK, ROAD))
    logits = invention(torch.randn(1, SIDE * SIDE, 16), SIDE, position)
    assert (invention.classes(logits, SIDE, position, standing, ground) == ROAD).all()


def test_the_overlap_of_what_is_sure_is_what_a_forecast_is_scored_by() -> None:
    """The plain twin counts voxels; what is unknown or not static counts nowhere."""
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.choice([ROAD, WALK, FREE, 4, 255], size=(1, 64, 16, 16))).int()
    shown = GoesOn(torch.full_like(truth, WALK), torch.full_like(truth, FREE))
    choice = torch.from_numpy(rng.choice([GROUND_GOES_ON, STANDING_GOES_ON, FIRST_CLASS + ROAD - STATIC[0]], size=64))
    decoded = np.array([WALK, FREE, ROAD])[np.searchsorted([0, 1, 2], choice.clamp(max=2).numpy())]
    decoded = np.broadcast_to(decoded[None, :, None, None], truth.shape)
    known = truth.numpy() <= FREE
    scores = []
    for each in (ROAD, WALK):
        shows, true = (decoded == each) & known, truth.numpy() == each
        scores.append((shows & true).sum() / (shows | true).sum())
    assert float(fill_overlap(sure(choice), shown, truth)) == pytest.approx(1.0 - np.mean(scores), abs=1e-4)


def test_rare_ground_counts_as_much_as_road_in_the_overlap_alone() -> None:
    truth = torch.full((1, 64, 16, 16), ROAD, dtype=torch.int32)
    truth[:, :4] = WALK
    shown = GoesOn(truth.clone(), torch.full_like(truth, FREE))
    right = torch.full((64,), GROUND_GOES_ON)
    lost = right.clone()
    lost[:4] = FIRST_CLASS + ROAD - STATIC[0]
    assert float(fill_overlap(sure(right), shown, truth)) == pytest.approx(0.0, abs=1e-4)
    assert float(fill_overlap(sure(lost), shown, truth)) == pytest.approx(0.5 + 0.5 * 4 / 64, abs=1e-3)
    assert fill_likelihood(sure(right), shown, truth) < 1e-4 < fill_likelihood(sure(lost), shown, truth)


def test_both_losses_pull_the_logits_to_what_comes() -> None:
    position = torch.tensor([[[-1, 3], [-2, 3]]])
    standing, ground = (torch.full((1, 4 * SIDE + 4, 16, 16), value, dtype=torch.int32) for value in (FREE, ROAD))
    shown = goes_on(position, SIDE, standing, ground)
    truth = torch.full((1, 2, 16, 16), WALK, dtype=torch.int32)
    for loss in (fill_likelihood, fill_overlap):
        logits = torch.zeros(1, 2, 4, 16, OPTIONS, requires_grad=True)
        loss(logits, shown, truth).backward()
        assert logits.grad is not None
        pulled = logits.grad.sum((0, 1, 2, 3))
        assert int(pulled.argmin()) == FIRST_CLASS + WALK - STATIC[0], "down the gradient is up for the true class"


def test_ground_becomes_other_ground_only_where_that_is_allowed() -> None:
    invention = Invention(16, 8).eval()
    position = torch.tensor([[[-3, 12], [-3, 13]]])
    standing, ground = (torch.full((1, 4 * SIDE + 4, 16, 16), value, dtype=torch.int32) for value in (FREE, ROAD))
    logits = sure(torch.tensor([FIRST_CLASS + WALK - STATIC[0], FIRST_CLASS + FREE - STATIC[0]]))
    for stays, shown in ((False, WALK), (True, ROAD)):
        classes = invention.classes(logits, SIDE, position, standing, ground, ground_stays=stays)
        assert (classes[0, 0] == shown).all() and (classes[0, 1] == FREE).all()


@pytest.mark.parametrize(("name", "goes_on"), [("barrier", True), ("traffic_cone", False), ("car", False)])
def test_a_wall_at_the_border_goes_on_outwards_a_cone_or_a_car_does_not(name: str, goes_on: bool) -> None:
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[:, :, 2] = ROAD
    semantics[199, 100, 3:5] = CLASS_NAMES.index(name)
    scene, _ = observe(SensorFrame(0, np.eye(4), Occupancy(semantics)), start_observer(keep_evidence=False))
    standing = as_voxels(model_inputs(scene)["border_standing"])
    assert (standing == CLASS_NAMES.index(name)).any() == goes_on
    assert ((standing == ROAD).any(-1)).all(), "what ends leaves the ground"
