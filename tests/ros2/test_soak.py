"""Node and replay for a long time over DDS: `make soak`, for $GENIEDRIVE_SOAK_S seconds (default 600), with the shipped
weights or with $GENIEDRIVE_SOAK_MODEL: "tiny", untrained, for a machine that is too slow for `edge`.

Wants an otherwise idle machine: rates and intervals are those of real time. The short form, with bounds that hold
beside other work, is test_short_soak.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.ros2.soak_run import Soak, inactive_share, run_soak

if TYPE_CHECKING:
    from conftest import Graph

SOAK_S = float(os.environ.get("GENIEDRIVE_SOAK_S", "600"))
MODEL = os.environ.get("GENIEDRIVE_SOAK_MODEL", "edge")
INFERENCE_WINDOW_S = 5.0
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SOAK_S + 300)]


@pytest.fixture(scope="module")
def soak(graph: Graph, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Soak:
    return run_soak(graph, _model(request), tmp_path_factory.mktemp("soak"), SOAK_S, min(60.0, SOAK_S / 2))


def _model(request: pytest.FixtureRequest) -> Path:
    if MODEL == "tiny":
        tiny: Path = request.getfixturevalue("bundle")
        return tiny
    from deploy.export import export

    folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return export(Path(MODEL), folders.mktemp("model") / MODEL).folder


def test_the_rate_and_the_intervals_are_kept(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{MODEL}: {soak.line(SOAK_S)}")
    assert abs(soak.rate_hz - 30.0) <= 0.3, f"{soak.rate_hz:.2f} Hz; the load before was {soak.load:.1f}"
    assert soak.share_of_intervals(1 / 30, 0.005) >= 0.95


def test_every_observation_is_inferred_from(soak: Soak) -> None:
    """10 Hz; at each loop of the replay the node starts afresh, and five odometry stamps are lost to that."""
    assert 9.5 <= soak.new_hz <= 10.1


def test_publishing_is_quick(soak: Soak) -> None:
    assert np.median(soak.heard["publish_ms"]) <= 10.0


def test_it_is_never_silent_for_a_second(soak: Soak) -> None:
    """The replay loops on the way: each time, the node starts afresh."""
    assert soak.gaps_s.max() < 1.0
    assert soak.heard["points_s"].size > 0.9 * soak.heard["forecast_s"].size


def test_inferences_go_on_to_the_end(soak: Soak) -> None:
    times, counts = soak.heard["status_s"], soak.heard["inferences"]
    edges = np.arange(soak.heard["forecast_s"][0], times[-1], INFERENCE_WINDOW_S)
    grown = np.diff(counts[np.searchsorted(times, edges)])
    assert len(grown) >= 2
    assert (grown > 0).all(), f"inferences in each {INFERENCE_WINDOW_S:g} s: {grown}"


def test_memory_does_not_grow(soak: Soak) -> None:
    assert soak.rss_growth < 0.01, np.round(soak.rss_mb, 1).tolist()


def test_all_end_cleanly(soak: Soak) -> None:
    assert soak.ended == {"node": 0, "replay": 0, "listener": 0}, soak.logs
    assert all("Traceback" not in log for log in soak.logs.values()), soak.logs


def test_an_inactive_node_hardly_uses_the_processor(
    graph: Graph, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    share = inactive_share(graph, bundle, 30.0)
    with capsys.disabled():
        print(f"\ninactive: {share:.2%} of a core")
    assert share < 0.03
