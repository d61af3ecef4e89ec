"""Forecasts from what the sensors show: which files a frame is made of, and that scoring is told what was seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.forecaster import BundleForecaster
from deploy.perceive import Perception
from deploy.sensed import SensedForecaster, SensedScene, see, ways
from genie.cli.main import app
from genie.data.bag.source import BagSource
from genie.data.nuscenes import open_nuscenes
from genie.data.sequence import Sequence
from genie.data.stream import load_stream
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from tests.small_perception import BOTH, export_small

SCENE = "scene-0001"


@pytest.fixture(scope="module")
def source(sensor_root: Path) -> BagSource:
    return BagSource(open_nuscenes(sensor_root), SCENE)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("network"), BOTH)


@pytest.fixture(scope="module")
def perception(source: BagSource, network: Path) -> Perception:
    return Perception(network, source.rig(), threads=1)


def head(sequence: Sequence, count: int) -> Sequence:
    return replace(
        sequence,
        timestamp_us=sequence.timestamp_us[:count],
        world_from_ego=sequence.world_from_ego[:count],
        semantics=sequence.semantics[:count],
    )


def test_a_frame_has_the_last_sweeps_and_the_nearest_images(sensor_root: Path, source: BagSource) -> None:
    scene, sequence = SensedScene(source, source.rig(), "LIDAR_TOP"), load_stream(sensor_root, SCENE)
    stamp_us = int(sequence.timestamp_us[3])
    sweeps = scene.sweeps(stamp_us, 3)
    assert [stamp_us - s.stamp_us for s in sweeps] == [100_000, 50_000, 0]
    pose = sweeps[-1].world_from_ego
    np.testing.assert_allclose(pose[:2, 3], sequence.world_from_ego[3, :2, 3], atol=0.05)
    assert len(scene.sweeps(int(sequence.timestamp_us[0]), 3)) == 1
    images = scene.images(stamp_us)
    assert len(images) == 6 and all(i.shape == (90, 160, 3) for i in images.values())
    assert scene.images(stamp_us + 60_000_000) == {}


def test_what_is_seen_is_told_in_place_of_the_truth(
    sensor_root: Path, source: BagSource, perception: Perception, bundle: Path
) -> None:
    sequence = head(load_stream(sensor_root, SCENE), 4)
    scene = SensedScene(source, source.rig(), "LIDAR_TOP")
    seen = see(scene, sequence, perception, bundle)
    assert all(frames.shape == sequence.semantics.shape for frames in seen)
    by_hand = perception.perceive(
        scene.sweeps(int(sequence.timestamp_us[3]), 2), scene.images(int(sequence.timestamp_us[3]))
    )
    np.testing.assert_array_equal(seen.raw[3], by_hand.occupancy.semantics)
    told = dict(ways(seen, sequence.timestamp_us))
    sensed = SensedForecaster("sensed", BundleForecaster(bundle, threads=1), told["raw"])
    plain = BundleForecaster(bundle, threads=1)
    for t in range(4):
        sensed.observe(sequence.frame(t))
        plain.observe(head(sequence, 4).frame(t))
    assert (sensed.forecast(None).semantics != plain.forecast(None).semantics).any()


def test_a_data_root_without_sweeps_is_refused(tmp_path: Path, bundle: Path, network: Path) -> None:
    generate(tmp_path / "data", SynthConfig(scenes=1, seconds=1.0))
    result = CliRunner().invoke(
        app,
        [
            "eval", "sensors", "--dataroot", str(tmp_path / "data"), "--perception", str(network),
            "--bundle", str(bundle),
        ],
    )  # fmt: skip
    assert result.exit_code != 0 and "no sweeps of LIDAR_TOP" in str(result.exception or result.output)
