"""The demo's graph as it is started for a user: node, replay and recorder, and what the recorder leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.errors import CheckFailed
from deploy.pipeline import Pipeline
from genie.cli.demo_ros import run_graph
from genie.data.stream import load_stream
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate

pytestmark = pytest.mark.ros
SCENE, SECONDS = "scene-0001", 4.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "data"
    generate(folder, SynthConfig(scenes=1, seconds=SECONDS))
    return folder


@pytest.fixture
def domain(ros_process_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROS_DOMAIN_ID", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, ros_process_environment[name])


def test_the_recorder_hears_the_node_and_all_end_cleanly(
    root: Path, bundle: Path, tmp_path: Path, domain: None
) -> None:
    found = run_graph(bundle, root, SCENE, "stream", 10.0, tmp_path)
    assert found["published_hz"] == pytest.approx(30.0, rel=0.15)
    assert 1.0 < found["new_inference_hz"] <= 10.5, "the scene is observed 10 times a second"
    assert found["latency_ms"]["median"] >= found["inference_ms"]["median"] > 1.0
    assert found["levels"]["FAULT"] == 0
    with np.load(tmp_path / "ros.npz", allow_pickle=False) as recorded:
        stamps, kept = recorded["kept_observation_us"], recorded["kept_semantics"]
        assert recorded["is_new"].sum() == found["new_inferences"] < len(recorded["is_new"])
    # The first forecast that was kept rests on one frame alone: offline it must come out the same.
    sequence = load_stream(root, SCENE)
    first = int(np.flatnonzero(sequence.timestamp_us == stamps[0])[0])
    if first == 0:
        offline = Pipeline(bundle, threads=1).step(sequence.frame(0)).semantics
        assert (offline == kept[0]).mean() > 0.9999
    assert kept.shape[1:] == (6, 200, 200, 16) and len(np.unique(kept[0])) > 3


def test_a_node_that_cannot_start_is_told_with_its_own_words(root: Path, tmp_path: Path, domain: None) -> None:
    with pytest.raises(CheckFailed, match=r"(?s)node ended before.*manifest\.json"):
        run_graph(tmp_path / "nothing", root, SCENE, "stream", 5.0, tmp_path / "out")
