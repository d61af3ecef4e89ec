"""The baselines give the reference rows of the real mini stream: metric, warp, tracks and windows all at once.

Rows: mIoU and IoU at 1, 2 and 3 s, %, of the README beside the data. Those with two decimals are exact definitions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from genie.data.scenes import Scene, choose_scenes, load_scenes
from genie.evaluation.registry import make_forecaster
from genie.evaluation.report import SHOWN_S, to_json
from genie.evaluation.rollout import Evaluation, evaluate
from perception.metrics import mean_iou

pytestmark = pytest.mark.mini


class Row(NamedTuple):
    """miou, iou: at 1, 2 and 3 s. windows: how many the README's rule gives."""

    name: str
    protocol: str
    windows: int
    miou: tuple[float, float, float]
    iou: tuple[float, float, float]
    tolerance: float


ROWS = [
    Row("copy", "stream", 140, (25.98, 22.80, 21.21), (61.92, 56.04, 52.03), 0.05),
    Row("ego-warp", "stream", 140, (53.16, 46.77, 42.33), (79.65, 73.17, 67.29), 0.05),
    Row("tracker", "stream", 140, (61.2, 50.7, 44.7), (88.1, 82.0, 77.7), 1.0),
    Row("constant-velocity", "stream+5", 135, (77.3, 62.9, 54.7), (87.9, 78.4, 70.8), 1.0),
]


@pytest.fixture(scope="module")
def scenes(mini_root: Path) -> list[Scene]:
    return list(load_scenes(mini_root, "stream", choose_scenes(mini_root, "stream")))


def shown(evaluation: Evaluation, score: str) -> list[float]:
    horizons = to_json(evaluation)["horizons"]
    return [horizons[f"{h:.1f}"][score] for h in SHOWN_S]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_reference_rows(scenes: list[Scene], row: Row) -> None:
    evaluation = evaluate(make_forecaster(row.name), scenes, row.protocol)
    assert evaluation.windows == row.windows
    np.testing.assert_allclose(shown(evaluation, "miou"), row.miou, atol=row.tolerance)
    np.testing.assert_allclose(shown(evaluation, "iou"), row.iou, atol=row.tolerance)
    for tables in evaluation.tables.values():  # moving and static are a split of everywhere
        assert tables.moving is not None and tables.static is not None
        assert (tables.static >= 0).all()
    if row.name == "ego-warp":
        check_moving_content(evaluation)


def check_moving_content(evaluation: Evaluation) -> None:
    """A warp of what stands is far better where nothing travels."""
    for h in SHOWN_S:
        tables = evaluation.tables[h]
        assert tables.moving is not None and tables.static is not None
        assert mean_iou(tables.static).value > 3 * mean_iou(tables.moving).value


def test_a_warp_that_is_off_by_one_frame_would_be_seen(scenes: list[Scene]) -> None:
    """The exact rows have teeth: ego poses of the frame after, 0.1 s late, miss the row by far more than 0.05."""

    sequence = scenes[0].sequence
    poses = sequence.world_from_ego
    late = replace(sequence, world_from_ego=np.concatenate([poses[:10], poses[9:-1]]))
    exact = shown(evaluate(make_forecaster("ego-warp"), scenes[:1], "stream"), "miou")
    wrong = shown(evaluate(make_forecaster("ego-warp"), [Scene(late, scenes[0].tracks)], "stream"), "miou")
    assert np.abs(np.array(exact) - wrong).max() > 0.05
