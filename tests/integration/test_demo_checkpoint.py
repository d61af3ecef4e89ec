"""The checkpoint that `make demo` trains, kept as a golden file: what it is worth on scenes that it never saw.

tests/golden/tiny.safetensors was written by `make demo` (seed 0, synthetic scenes only). An intended change of the
model or its training replaces it, visibly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from deploy.export import export
from deploy.forecaster import BundleForecaster
from genie.baselines import EgoWarpForecaster
from genie.checkpoint_forecaster import load_forecaster
from genie.data.scenes import Scene, choose_scenes, load_scenes
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from genie.evaluation.report import to_json
from genie.evaluation.rollout import evaluate
from genie.forecaster import Forecaster
from genie.tracker_baseline import TrackerForecaster
from tests.integration.test_reference_rows import ROWS

GOLDEN = Path(__file__).resolve().parents[1] / "golden/tiny.safetensors"
SECONDS = ("1.0", "2.0", "3.0")


class Scores(NamedTuple):
    """At 1, 2 and 3 s; moving: in the moving region alone."""

    miou: list[float]
    moving: list[float]


def both(forecaster: Forecaster, scenes: list[Scene]) -> Scores:
    horizons = to_json(evaluate(forecaster, scenes, "stream"))["horizons"]
    return Scores(*([horizons[s][of] for s in SECONDS] for of in ("miou", "miou_moving")))


def miou(forecaster: Forecaster, scenes: list[Scene]) -> list[float]:
    return both(forecaster, scenes).miou


@pytest.fixture(scope="module", autouse=True)
def threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def mini(mini_root: Path) -> list[Scene]:
    return list(load_scenes(mini_root, "stream", choose_scenes(mini_root, "stream")))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Three towns of a seed that no run of this project trains on."""
    root = tmp_path_factory.mktemp("held_out") / "data"
    generate(root, SynthConfig(scenes=3, seconds=15.0, seed=977), jobs=2)
    return list(load_scenes(root, "stream", choose_scenes(root, "stream")))


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> BundleForecaster:
    """As on the car: exported, on ONNX Runtime. Parity with PyTorch is of other tests."""
    return BundleForecaster(export(GOLDEN, tmp_path_factory.mktemp("golden") / "bundle").folder)


@pytest.fixture(scope="module")
def learned(gated: BundleForecaster, synthetic: list[Scene]) -> Scores:
    return both(gated, synthetic)


@pytest.fixture(scope="module")
def whole(learned: Scores) -> list[float]:
    return learned.miou


@pytest.fixture(scope="module")
def warp(synthetic: list[Scene]) -> list[float]:
    return miou(EgoWarpForecaster(), synthetic)


def assert_beats(model: list[float], warp: Sequence[float], tracker: Sequence[float]) -> None:
    told = f"model {model}, ego-warp {warp}, tracker {tracker}"
    assert all(m >= w + 3.0 for m, w in zip(model, warp, strict=True)), told
    assert all(m >= t - 1.0 for m, t in zip(model, tracker, strict=True)), told


def test_it_beats_ego_warp_and_tracker_on_real_motion(gated: BundleForecaster, mini: list[Scene]) -> None:
    """Their rows, which test_reference_rows.py holds them to."""
    rows = {row.name: row.miou for row in ROWS}
    model = miou(gated, mini)
    assert_beats(model, rows["ego-warp"], rows["tracker"])
    assert all(m > t + 2.0 for m, t in zip(model, rows["tracker"], strict=True)), (model, rows["tracker"])


def test_it_beats_ego_warp_on_held_out_towns(synthetic: list[Scene], whole: list[float], warp: list[float]) -> None:
    assert_beats(whole, warp, miou(TrackerForecaster(), synthetic))


def test_it_beats_a_tracker_by_centroids_with_the_same_evidence(synthetic: list[Scene], whole: list[float]) -> None:
    """By a point at every horizon: measured better, and corrected."""
    plain = miou(TrackerForecaster(fused=True, by_centroids=True), synthetic)
    assert all(w > p + 1.0 for w, p in zip(whole, plain, strict=True)), (whole, plain)


def test_without_its_learned_parts_it_loses_what_it_gained(
    synthetic: list[Scene], learned: Scores, warp: list[float]
) -> None:
    """Where things move, at every horizon; over all, at 1 s (docs/decisions/011: what is measured took the rest)."""
    unlearned = both(load_forecaster(GOLDEN, ("correction", "invention"), "dense"), synthetic)  # the quicker twin
    nothing = miou(load_forecaster(GOLDEN, ("motion", "fill", "evidence"), "dense"), synthetic)
    tracker = miou(TrackerForecaster(fused=True), synthetic)
    assert all(w > u + 0.2 for w, u in zip(learned.moving, unlearned.moving, strict=True)), (learned, unlearned)
    assert learned.miou[0] > unlearned.miou[0] + 0.2, (learned, unlearned)
    assert unlearned.miou == pytest.approx(tracker, abs=0.1)
    assert nothing == pytest.approx(warp, abs=0.1)
