"""Calibration frames: every kind and speed, every scene, the same every time."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from calib.errors import InputError
from calib.int8 import FrameFacts, choose_frames, write_frames


def drive() -> list[FrameFacts]:
    """Three scenes of 200 frames at 7 m/s in which hardly anything happens: one stands for a second, one turns."""
    frames = [FrameFacts(f"scene-{s}", t, 100_000 * t, 7.0) for s in range(3) for t in range(200)]
    for t in range(90, 100):
        frames[t] = replace(frames[t], speed_m_s=0.0, kinds=("ego_stands",))
        frames[400 + t] = replace(frames[400 + t], kinds=("ego_turns",))
    for s in range(3):
        frames[200 * s] = replace(frames[200 * s], kinds=("start",))
    return frames


def test_what_is_rare_is_seen_as_often_as_what_is_common() -> None:
    chosen = choose_frames(drive(), 12)
    assert Counter(kind for f in chosen for kind in f.kinds or ("nothing",)) == {
        "start": 3, "ego_stands": 3, "ego_turns": 3, "nothing": 3,
    }  # fmt: skip


def test_every_scene_gives_some_and_no_two_are_neighbours_in_a_plain_drive() -> None:
    plain = [FrameFacts(f"scene-{s}", t, 100_000 * t, 7.0) for s in range(3) for t in range(200)]
    chosen = choose_frames(plain, 12)
    assert Counter(f.scene for f in chosen) == {"scene-0": 4, "scene-1": 4, "scene-2": 4}
    frames = [f.frame for f in chosen if f.scene == "scene-0"]
    assert min(b - a for a, b in itertools.pairwise(frames)) >= 40


def test_speeds_are_told_apart() -> None:
    fast = [replace(f, speed_m_s=15.0) if f.frame == 150 else f for f in drive()]
    assert {f.speed_m_s for f in choose_frames(fast, 10)} == {0.0, 7.0, 15.0}


def test_equal_facts_give_equal_choices_in_any_order() -> None:
    frames = drive()
    assert choose_frames(frames, 20) == choose_frames(frames[::-1], 20)
    assert len(set(choose_frames(frames, 600))) == 600


@pytest.mark.parametrize("count", [0, 601])
def test_fewer_frames_than_are_wanted(count: int) -> None:
    with pytest.raises(InputError, match="600 frames"):
        choose_frames(drive(), count)


def test_a_frame_twice() -> None:
    frames = drive()
    with pytest.raises(InputError, match="twice"):
        choose_frames([*frames, frames[0]], 5)


def test_the_file_says_which_frames_of_which_files(tmp_path: Path) -> None:
    chosen = choose_frames(drive(), 3)
    write_frames(tmp_path / "calibration.json", chosen, {"scene-0": "ab"})
    tree = json.loads((tmp_path / "calibration.json").read_text())
    assert [(f["scene"], f["frame"]) for f in tree["frames"]] == [(f.scene, f.frame) for f in chosen]
    assert tree["sources"] == {"scene-0": "ab"} and tree["schema"] == 1
