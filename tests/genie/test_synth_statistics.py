"""Statistics count what they say, alike for real and synthetic data, and the table is honest about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calib.transforms import se3_from_xyz_yaw
from genie.cli.data import app
from genie.data.scenes import Scene, list_scenes, load_scenes
from genie.data.sequence import Sequence
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from genie.data.synth.statistics import Row, column_change, gather, markdown, rows_of, within
from genie.data.tracks import Boxes, SceneTracks
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

CAR = CLASS_NAMES.index("car")


def a_sequence(frames: list[np.ndarray], x: list[float]) -> Sequence:
    count = len(frames)
    poses = se3_from_xyz_yaw(np.stack([x, np.zeros(count), np.zeros(count)], axis=1), np.zeros(count))
    return Sequence("scene", np.stack(frames), np.arange(count) * 100_000, poses, Path("scene.npz"))


def free() -> np.ndarray:
    return np.full(GRID.shape, FREE, np.uint8)


def test_what_the_ego_motion_explains_is_no_change():
    before, after = free(), free()
    before[100:104, 80:84, 2:6], after[99:103, 80:84, 2:6] = CAR, CAR
    assert column_change(a_sequence([before, after], [0.0, 0.4])) == [0.0]
    moved = column_change(a_sequence([before, after], [0.0, 0.0]))
    assert moved == [2 / 2500]  # one voxel further: its own column and the next
    one = before.copy()
    one[0, 0, 15] = DRIVEABLE
    assert column_change(a_sequence([before, one], [0.0, 0.0])) == [1 / 2500]


def test_instances_are_counted_in_the_square_alone():
    def boxes(x: list[float], speed: list[float]) -> Boxes:
        n = len(x)
        return Boxes(
            np.arange(n), np.full(n, CAR), np.stack([x, np.zeros(n), np.zeros(n)], axis=1),
            np.tile([4.0, 2.0, 1.5], (n, 1)), np.zeros(n), np.stack([speed, np.zeros(n)], axis=1),
        )  # fmt: skip

    tracks = SceneTracks(np.array([0, 500_000]), (boxes([5, 39, 41], [0.0, 4.0, 9.0]), boxes([5, 41], [0.0, np.nan])))
    sequence = a_sequence([free()] * 6, [0.0] * 6)
    rows = {(r.group, r.name): r for r in rows_of(gather([Scene(sequence, tracks)]))}
    assert rows["instances per keyframe", "car"] == ("instances per keyframe", "car", 1.5, 2)
    assert rows["speed of those that move, mean (m/s)", "car"].value == 4.0
    assert rows["faster than 0.5 m/s (%)", "car"].value == pytest.approx(100 / 3)
    assert rows["width, mean (m)", "car"].value == 2.0 and rows["length, mean (m)", "car"].value == 4.0
    assert rows["ego", "stands (% of the time)"].value == 100.0
    assert np.isnan(rows["width, mean (m)", "bus"].value)


def test_the_table_says_what_does_not_fit():
    pairs = [(10.0, 14.9, 50), (10.0, 15.2, 50), (10.0, 6.5, None), (10.0, 99.0, 2), (0.0, 1.0, 50)]
    real = [Row("group", str(n), a, count) for n, (a, _, count) in enumerate(pairs)]
    other = [Row("group", str(n), b, 1000) for n, (_, b, _) in enumerate(pairs)]
    assert [within(a, b) for a, b in zip(real, other, strict=True)] == [True, False, False, None, False]
    lines = markdown(real, other).splitlines()[2:]
    assert [line.split("|")[-2].strip() for line in lines] == [
        "yes", "**no**", "**no**", "too few real ones: 2", "**no**",
    ]  # fmt: skip


def test_the_command_compares_two_data_roots(tmp_path):
    root, out = tmp_path / "data", tmp_path / "table.md"
    generate(root, SynthConfig(scenes=1, seconds=3.5, seed=2))
    arguments = ["statistics", str(root), "--beside", str(root), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert "tracker (%)" in text and "mIoU at 3 s" in text
    assert all("| 1.00 | yes |" in line for line in text.splitlines() if line.endswith("| yes |"))
    judged = [line for line in text.splitlines() if line.startswith("| ") and "mIoU at" in line]
    assert len(judged) == 9 and all("| yes |" in line for line in judged)


@pytest.mark.mini
def test_the_real_stream_changes_as_published(mini_root):
    """5.7 % of the columns in the mean, 11.5 % at the 90th percentile."""
    rows = {
        r.name: r.value for r in rows_of(gather(load_scenes(mini_root, "stream", list_scenes(mini_root, "stream"))))
    }
    assert rows["columns that change, mean (%)"] == pytest.approx(5.7, abs=0.1)
    assert rows["columns that change, 90th percentile (%)"] == pytest.approx(11.5, abs=0.5)
