"""What calibration is told of a frame, and that another frame or another file is another calibration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calib.errors import InputError
from calib.transforms import se3_from_xyz_yaw
from deploy.calibration import choose_calibration, facts_of
from genie.data.sequence import Sequence


def drive(seconds: float = 3.0) -> Sequence:
    """Stands for a second, then goes 5 m/s, and turns by 0.3 rad/s in the last second."""
    t = np.arange(0, seconds, 0.1)
    yaw = 0.3 * np.clip(t - 2.0, 0, None)
    xyz = np.stack([5.0 * np.clip(t - 1.0, 0, None), np.zeros_like(t), np.zeros_like(t)], -1)
    stamps = np.round(t * 1e6).astype(np.int64) + 7_000_000
    return Sequence("scene-0001", np.zeros((len(t), 1, 1, 1), np.uint8), stamps, se3_from_xyz_yaw(xyz, yaw), Path("x"))


def test_speed_start_stand_and_turn_come_from_the_poses(tmp_path: Path) -> None:
    facts = facts_of(drive(), tmp_path)
    assert facts[0].kinds == ("ego_stands", "start") and facts[5].kinds == ("ego_stands",)
    assert facts[15].kinds == () and facts[15].speed_m_s == pytest.approx(5.0)
    assert facts[25].kinds == ("ego_turns",) and facts[25].stamp_us == 9_500_000


def test_events_come_from_the_data_root(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    path = tmp_path / "events" / "scene-0001.json"
    path.write_text(json.dumps([{"timestamp": 8_450_000, "kind": "lane_change"}]))
    shown = [f.frame for f in facts_of(drive(), tmp_path) if "lane_change" in f.kinds]
    assert shown == [15, 16, 17, 18, 19]
    path.write_text("{}x")
    with pytest.raises(InputError, match="not a list of events"):
        facts_of(drive(), tmp_path)


def test_the_digest_is_of_the_frames_and_of_what_is_in_them(calibration_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "stream").mkdir(parents=True)
    file = root / "stream" / "scene-0001.npz"
    file.write_bytes((calibration_root / "stream" / "scene-0001.npz").read_bytes())
    first = choose_calibration(root, 2).write(tmp_path / "a.json")
    assert choose_calibration(calibration_root, 2).write(tmp_path / "b.json") == first
    assert choose_calibration(root, 3).write(tmp_path / "c.json") != first
    arrays = dict(np.load(file))
    arrays["semantics"][0, 0, 0, 0] ^= 1
    np.savez_compressed(file, **arrays)
    assert choose_calibration(root, 2).write(tmp_path / "d.json") != first
