"""The soak in short, for the suite: the same graph for a few seconds. Beside much other work (a load above that of the
cores before the start) rates are told and not judged: they are then those of the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.ros2.soak_run import Soak, inactive_share, run_soak

if TYPE_CHECKING:
    from conftest import Graph

pytestmark = pytest.mark.ros
SECONDS = 10.0


@pytest.fixture(scope="module")
def soak(graph: Graph, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Soak:
    return run_soak(graph, bundle, tmp_path_factory.mktemp("soak"), SECONDS, SECONDS / 2, with_top=True)


def test_rate_memory_and_a_clean_end(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{soak.line(SECONDS)}")
    if soak.load < len(os.sched_getaffinity(0)):
        assert np.median(soak.gaps_s) == pytest.approx(1 / 30, abs=0.012)
        assert 12.0 < soak.rate_hz < 33.0 and 2.0 < soak.new_hz < 10.6
    assert soak.rate_hz < 33.0 and soak.new_hz < 10.6
    assert soak.rss_growth < 0.05, np.round(soak.rss_mb, 1).tolist()
    assert set(soak.ended.values()) == {0}, soak.logs


def test_top_shows_rates_buckets_state_and_diagnostics(soak: Soak) -> None:
    text = soak.logs["top"]
    assert "published" in text and "new inferences" in text and "columns computed" in text
    for component in ("engine", "input_topics", "processing_time", "output_validity"):
        assert component in text
    assert "median" in text and "Traceback" not in text, text


def test_an_inactive_node_hardly_uses_the_processor(graph: Graph, bundle: Path) -> None:
    assert inactive_share(graph, bundle, 4.0) < 0.03
