"""The checkpoint that `make demo` trains, kept as a golden file: what it is worth on scenes that it never saw.

tests/golden/tiny.safetensors was written by `make demo` (seed 0, synthetic scenes only). An intended change of the
model or its training replaces it, visibly.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genie.baselines import EgoWarpForecaster
from genie.checkpoint_forecaster import load_forecaster
from genie.data.scenes import Scene, choose_scenes, load_scenes
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from genie.evaluation.report import to_json
from genie.evaluation.rollout import evaluate
from genie.forecaster import Forecaster
from genie.tracker_baseline import TrackerForecaster

GOLDEN = Path(__file__).resolve().parents[1] / "golden/tiny.safetensors"
SECONDS = ("1.0", "2.0", "3.0")


def miou(forecaster: Forecaster, scenes: list[Scene]) -> list[float]:
    horizons = to_json(evaluate(forecaster, scenes, "stream"))["horizons"]
    return [horizons[s]["miou"] for s in SECONDS]


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
def whole(synthetic: list[Scene]) -> list[float]:
    """Gated, as on the car."""
    return miou(load_forecaster(GOLDEN), synthetic)


@pytest.fixture(scope="module")
def warp(synthetic: list[Scene]) -> list[float]:
    return miou(EgoWarpForecaster(), synthetic)


def check(model: list[float], warp: list[float], tracker: list[float]) -> None:
    told = f"model {model}, ego-warp {warp}, tracker {tracker}"
    assert all(m >= w + 3.0 for m, w in zip(model, warp, strict=True)), told
    assert all(m >= t - 1.0 for m, t in zip(model, tracker, strict=True)), told


def test_it_beats_ego_warp_on_real_motion(mini: list[Scene]) -> None:
    check(*(miou(f, mini) for f in (load_forecaster(GOLDEN), EgoWarpForecaster(), TrackerForecaster())))


def test_it_beats_ego_warp_on_held_out_towns(synthetic: list[Scene], whole: list[float], warp: list[float]) -> None:
    check(whole, warp, miou(TrackerForecaster(), synthetic))


def test_without_its_learned_parts_it_loses_what_it_gained(
    synthetic: list[Scene], whole: list[float], warp: list[float]
) -> None:
    unlearned = miou(load_forecaster(GOLDEN, ("correction", "invention"), "dense"), synthetic)  # the quicker twin
    nothing = miou(load_forecaster(GOLDEN, ("motion", "fill", "evidence"), "dense"), synthetic)
    tracker = miou(TrackerForecaster(fused=True), synthetic)
    assert all(w > u + 0.5 for w, u in zip(whole, unlearned, strict=True)), (whole, unlearned)
    assert unlearned == pytest.approx(tracker, abs=0.1)
    assert nothing == pytest.approx(warp, abs=0.1)
