"""The weights that come with the package: found by name, whole, small, and worth something at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from calib.errors import InputError
from genie.baselines import EgoWarpForecaster
from genie.data.scenes import Scene, choose_scenes, load_scenes
from genie.evaluation.registry import make_forecaster
from genie.evaluation.report import to_json
from genie.evaluation.rollout import evaluate
from genie.forecaster import Forecaster
from genie.shipped import SHIPPED, checkpoint_path
from genie.training.checkpoint import load_model

MOST_BYTES = 20_000_000
SECONDS = ("1.0", "2.0", "3.0")


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_the_file_that_its_card_describes(name: str) -> None:
    path = checkpoint_path(name)
    content = path.read_bytes()
    assert len(content) <= MOST_BYTES
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(content).hexdigest() in card
    assert "synthetic" in card and "Licence" in card
    _, config = load_model(Path(name))
    assert config.name == name


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge").mkdir()
    with pytest.raises(InputError, match="no checkpoint there"):
        load_model(Path("edge"))


def test_it_forecasts_better_than_a_copy_moved_by_the_ego(mini_root: Path) -> None:
    scene = next(iter(load_scenes(mini_root, "stream", choose_scenes(mini_root, "stream")[:1])))
    shipped, warp = (miou(f, scene) for f in (make_forecaster("edge"), EgoWarpForecaster()))
    assert all(s > w + 3.0 for s, w in zip(shipped, warp, strict=True)), (shipped, warp)


def miou(forecaster: Forecaster, scene: Scene) -> list[float]:
    horizons = to_json(evaluate(forecaster, [scene], "stream"))["horizons"]
    return [horizons[s]["miou"] for s in SECONDS]
