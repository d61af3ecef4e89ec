"""`geniedrive data info` and `geniedrive eval --json` on a data root of one synthetic scene."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from genie.cli.main import main
from genie.data.info import inspect
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from perception.types import CLASS_NAMES, GRID

KEYFRAMES = 15  # 0.0, 0.5, ... 7.0 s
FRAMES = 71


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("info") / "synth"
    generate(root, SynthConfig(scenes=1, seconds=7.0, seed=6))
    return root


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["geniedrive", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0


def test_counts_labels_windows_and_classes(root: Path) -> None:
    info = inspect(root)
    (scene,) = info.scenes
    assert (scene.keyframes, scene.labels, scene.stream_frames) == (KEYFRAMES, KEYFRAMES, FRAMES)
    streams = {"stream": 5, "stream+5": 4, "stream-2hz": 5}
    assert info.windows == {"occworld": 3, "i2world": 5, "geniedrive": 6, "dome": 1, **streams}
    assert info.histogram.sum() == KEYFRAMES * np.prod(GRID.shape)
    by_hand = sum((np.load(path)["semantics"] == CLASS_NAMES.index("car")).sum() for path in root.glob("gts/*/*/*.npz"))
    assert info.histogram[CLASS_NAMES.index("car")] == by_hand > 0


def test_a_missing_label_is_counted_and_takes_the_windows(root: Path) -> None:
    label = sorted(root.glob("gts/*/*/labels.npz"))[0]
    aside = label.rename(label.with_suffix(".aside"))
    try:
        info = inspect(root)
    finally:
        aside.rename(label)
    assert (info.scenes[0].keyframes, info.scenes[0].labels) == (KEYFRAMES, KEYFRAMES - 1)
    assert info.windows["occworld"] == 0 and info.windows["stream"] == 5


def test_info_prints_them(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, "data", "info", root)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    name = next(root.glob("gts/*")).name
    assert [name, str(KEYFRAMES), str(KEYFRAMES), "0", str(FRAMES)] in lines
    assert ["occworld", "3"] in lines
    assert any(line[:1] == ["driveable_surface"] for line in lines)


def test_eval_prints_a_table_and_writes_json(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["eval", "--dataroot", root, "--json", tmp_path / "out.json"]
    command(monkeypatch, *options, "--source", "occ3d", "--protocol", "i2world", "--model", "ego-warp")
    result = json.loads((tmp_path / "out.json").read_text())
    assert (result["model"], result["source"], result["windows"]) == ("ego-warp", "occ3d", 5)
    assert 0 < result["horizons"]["3.0"]["miou"] < result["horizons"]["0.5"]["miou"] <= 100
    command(monkeypatch, *options, "--model", "copy", "--model", "tracker")
    assert [r["model"] for r in json.loads((tmp_path / "out.json").read_text())] == ["copy", "tracker"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("copy", "ego-warp", "tracker"))
