"""The ablation: every row runs the same weights, what is broken hurts, and the table says what was measured."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from calib.errors import InputError
from genie.cli.main import main
from genie.data.scenes import Scene, load_scenes
from genie.evaluation.ablation import ABLATIONS, ablate, ablations_named, forecaster_of
from genie.evaluation.ablation_report import ablation_markdown, read_benchmark
from genie.evaluation.ablation_rows import AblationOf, AblationRows
from genie.evaluation.report import to_json
from genie.evaluation.rollout import Evaluation
from genie.gated_forecaster import GatedForecaster
from genie.model import GenieDrive
from genie.training.checkpoint import load_model

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests/golden/tiny.safetensors"
FRAMES = 51  # three windows
ROWS = ("ego-stands", "no-motion", "no-history", "zeroed-memory")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> GenieDrive:
    return load_model(GOLDEN)[0].eval()


@pytest.fixture(scope="module")
def scenes(synth_root: Path) -> list[Scene]:
    """The first windows of one."""
    (scene,) = load_scenes(synth_root, "stream", ["scene-0001"])
    s = scene.sequence
    part = replace(s, semantics=s.semantics[:FRAMES], timestamp_us=s.timestamp_us[:FRAMES])
    return [scene._replace(sequence=replace(part, world_from_ego=s.world_from_ego[:FRAMES]))]


@pytest.fixture(scope="module")
def results(model: GenieDrive, scenes: list[Scene]) -> dict[str, Evaluation]:
    return ablate(model, lambda: scenes, "stream", ablations_named(ROWS))


def miou(evaluation: Evaluation) -> np.ndarray:
    return np.array([to_json(evaluation)["horizons"][s]["miou"] for s in ("1.0", "2.0", "3.0")])


def test_rows_are_named_and_what_is_compared_always_runs() -> None:
    assert len({a.name for a in ABLATIONS}) == len(ABLATIONS)
    assert [a.name for a in ablations_named(["ego-stands"])] == ["dense", "all", "ego-stands"]
    with pytest.raises(InputError, match="no row 'nothing'"):
        ablations_named(["nothing"])


def test_the_forms_agree_and_what_is_broken_hurts(results: dict[str, Evaluation]) -> None:
    whole = miou(results["all"])
    assert list(results) == ["dense", "all", "no-history", "zeroed-memory", "ego-stands", "no-motion"]
    assert np.abs(miou(results["dense"]) - whole).max() < 0.5
    assert (miou(results["ego-stands"]) < whole - 5.0).all()
    assert (miou(results["no-motion"])[:2] < whole[:2] - 2.0).all()  # at 3 s, so few windows tell nothing
    for name in ("no-history", "zeroed-memory"):
        assert (miou(results[name]) != whole).any(), f"{name} changes nothing"


class Ticked(NamedTuple):
    """The last of a few ticks. computed: [2500] bool. tokens: [2500, d]."""

    computed: np.ndarray
    tokens: torch.Tensor


def ticked(name: str, model: GenieDrive, scenes: list[Scene]) -> Ticked:
    (row,) = [a for a in ABLATIONS if a.name == name]
    forecaster = forecaster_of(row, model)
    assert isinstance(forecaster, GatedForecaster)
    for t in range(4):
        forecaster.observe(scenes[0].sequence.frame(t))
    forecaster.run_pending(None)
    return Ticked(forecaster.computed_columns(), forecaster._state.tokens)


@pytest.fixture(scope="module")
def whole(model: GenieDrive, scenes: list[Scene]) -> Ticked:
    return ticked("all", model, scenes)


@pytest.mark.parametrize("name", ["random-columns", "least-surprising"])
def test_a_sabotaged_gate_computes_as_many_other_columns(
    model: GenieDrive, scenes: list[Scene], whole: Ticked, name: str
) -> None:
    computed = ticked(name, model, scenes).computed
    assert whole.computed.sum() <= computed.sum()
    assert (whole.computed & computed).sum() < 0.5 * whole.computed.sum()


@pytest.mark.parametrize("name", ["zeroed-memory", "shuffled-memory", "zeroed-cache", "shuffled-cache"])
def test_damage_to_what_is_kept_reaches_the_tokens_and_not_the_gate(
    model: GenieDrive, scenes: list[Scene], whole: Ticked, name: str
) -> None:
    damaged = ticked(name, model, scenes)
    assert (damaged.computed == whole.computed).all() and not whole.computed.all()
    differ = ((damaged.tokens - whole.tokens).abs().amax(dim=1) > 1e-6).numpy()
    assert differ[whole.computed].any(), "what is computed does not read it"
    most_that_is_kept = differ[~whole.computed].mean() > 0.5
    assert most_that_is_kept == name.endswith("cache"), "the memory reaches what has been computed since"


def test_no_row_changes_the_model(model: GenieDrive) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for row in ABLATIONS:
        forecaster_of(row, model)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_table_holds_what_was_measured(results: dict[str, Evaluation]) -> None:
    benchmark = read_benchmark(REPOSITORY / "docs/benchmarks/tick.json")
    text = ablation_markdown({name: to_json(r) for name, r in results.items()}, benchmark, ["of a test"])
    (row,) = [line for line in text.splitlines() if line.startswith("| **gate + memory + retention")]
    assert "/".join(f"{v:.2f}" for v in miou(results["all"])) in row
    assert f"| {benchmark.costs['all'].tick_ms:.1f} |" in row and f"| {benchmark.costs['all'].gmac:.2f} |" in row
    (stands,) = [line for line in text.splitlines() if line.startswith("| ego said to stand")]
    change = miou(results["ego-stands"]) - miou(results["all"])
    assert "/".join(f"{c:+.2f}" for c in change) in stands
    assert "retention alone" not in text, "rows that did not run"
    assert "## The article's claims" not in text, "no technique ran alone"
    assert benchmark.told in text


def test_a_verdict_says_what_of_a_claim_is_reached_accuracy_included(results: dict[str, Evaluation]) -> None:
    benchmark = read_benchmark(REPOSITORY / "docs/benchmarks/tick.json")
    dense = to_json(results["dense"])
    for factor, accuracy in ((0.99, "reached: speed, compute, accuracy; "), (0.97, "not reached: memory, accuracy")):
        worse = json.loads(json.dumps(dense))
        worse["horizons"]["3.0"]["miou"] *= factor  # the article loses 1.9 %
        text = ablation_markdown({"dense": dense, "gate": worse}, benchmark, ["of a test"])
        (row,) = [line for line in text.splitlines() if line.startswith("| change-triggered")]
        assert accuracy in row and f"mIoU +0.00/+0.00/{100 * factor - 100:+.2f} %" in row


def test_times_of_another_preset_are_not_put_beside_it(monkeypatch: pytest.MonkeyPatch, synth_root: Path) -> None:
    benchmark = REPOSITORY / "docs/benchmarks/tick.json"
    options = {"--model": GOLDEN, "--dataroot": synth_root, "--out": "nowhere", "--bench": benchmark}
    typed = [str(word) for option in options.items() for word in option]
    monkeypatch.setattr(sys, "argv", ["geniedrive", "ablate", *typed])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and not Path("nowhere").exists()


def test_a_benchmark_of_bundles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tick.json").write_text(json.dumps({"schema": 2, "bundles": []}))
    for path in (tmp_path / "tick.json", tmp_path / "none.json"):
        with pytest.raises(InputError, match="benchmark"):
            read_benchmark(path)


OF = AblationOf("ab" * 32, "towns", "stream", ("scene-0001", "scene-0002"))


def test_rows_are_kept_after_each_and_taken_up_again(tmp_path: Path) -> None:
    rows = AblationRows(tmp_path, OF, resume=False)
    rows.add("dense", {"windows": 3})
    assert AblationRows(tmp_path, OF, resume=True).rows == {"dense": {"windows": 3}}
    with pytest.raises(InputError, match="--resume"):
        AblationRows(tmp_path, OF, resume=False)


@pytest.mark.parametrize(
    ("name", "other"),
    [("weights_sha256", "cd" * 32), ("data", "mini"), ("scenes", ("scene-0001",)), ("ego", "predicted")],
)
def test_rows_of_something_else_are_not_put_beside(tmp_path: Path, name: str, other: Any) -> None:
    AblationRows(tmp_path, OF, resume=False).add("dense", {"windows": 3})
    with pytest.raises(InputError, match=name):
        AblationRows(tmp_path, replace(OF, **{name: other}), resume=True)
    (tmp_path / "ablation.json").write_text("{}")
    with pytest.raises(InputError, match="no rows of an ablation"):
        AblationRows(tmp_path, OF, resume=True)
