"""The change gate on the events of synthetic scenes: what changes is computed within 0.2 s.

The labels of a stream show everything, hidden things too: what enters behind a wall is there, and nothing is ever
uncovered. So vehicles that are uncovered are judged on what the lidar could see, where voxels that no ray reaches are
free, and come and go with what stands before them; all other events on the labels.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.transforms import inverse
from genie.config import load_config
from genie.data.sequence import Sequence
from genie.data.stream import load_stream
from genie.data.synth.masks import RigView
from genie.gated_forecaster import GatedForecaster
from genie.grid import COLUMN_M, COLUMNS
from genie.model import GenieDrive
from perception.types import FREE, GRID, Occupancy, SensorFrame

WITHIN = 2  # ticks of 0.1 s after the one in which it shows
AROUND = 1  # columns: a vehicle is larger than the place that an event names
SCENES = ("scene-0001", "scene-0002", "scene-0003", "scene-0004")
UNCOVERED = "vehicle_uncovered"


@pytest.fixture(scope="module")
def forecaster() -> GatedForecaster:
    """Untrained: the gate's own rules."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = load_config("tiny", ["model.width=32", "model.layers=1", "model.decoder_width=32"])
    return GatedForecaster(GenieDrive(config.model).eval(), "gate")


def run(forecaster: GatedForecaster, sequence: Sequence, seen: bool) -> list[np.ndarray]:
    """Which columns each tick computed, bool [50, 50]."""
    forecaster.reset()
    view, computed = RigView(), []
    for t in range(len(sequence)):
        frame = sequence.frame(t)
        if seen:
            voxels = np.where(view.lidar_mask(sequence.semantics[t]), sequence.semantics[t], np.uint8(FREE))
            frame = SensorFrame(frame.stamp_us, frame.world_from_ego, Occupancy(voxels))
        forecaster.observe(frame)
        forecaster.run_pending(None)
        computed.append(forecaster.computed_columns().reshape(COLUMNS, COLUMNS))
    return computed


def until_last(events: list[dict], sequence: Sequence) -> Sequence:
    """No longer than it takes to judge the last of them."""
    last = max(first_shown(event, sequence) for event in events)
    frames = slice(0, last + WITHIN + 1)
    return replace(
        sequence,
        semantics=sequence.semantics[frames],
        timestamp_us=sequence.timestamp_us[frames],
        world_from_ego=sequence.world_from_ego[frames],
    )


def first_shown(event: dict, sequence: Sequence) -> int:
    return int(np.searchsorted(sequence.timestamp_us, event["timestamp"] - 1000))


def noticed(event: dict, sequence: Sequence, computed: list[np.ndarray]) -> bool | None:
    """Whether the event's columns were computed in time; None where its place is not on the grid then."""
    first = first_shown(event, sequence)
    if not 1 <= first < len(sequence) - WITHIN:
        return None
    on_grid = False
    for t in range(first, first + WITHIN + 1):
        place = inverse(sequence.world_from_ego[t]) @ np.array([*event["translation"][:2], 0.0, 1.0])
        i, j = np.floor((place[:2] - GRID.origin[0]) / COLUMN_M).astype(int)
        if not (0 <= i < COLUMNS and 0 <= j < COLUMNS):
            continue
        around = np.s_[max(i - AROUND, 0) : i + AROUND + 1, max(j - AROUND, 0) : j + AROUND + 1]
        if computed[t][around].any():
            return True
        # A sliver at the border that is narrower than a voxel shows in no label.
        on_grid |= np.abs(place[:2]).max() < -GRID.origin[0] - GRID.voxel_size
    return False if on_grid else None


def test_events_are_computed_within_a_fifth_of_a_second(synth_root: Path, forecaster: GatedForecaster) -> None:
    found: Counter[tuple[str, bool]] = Counter()
    for scene in SCENES:
        sequence = load_stream(synth_root, scene)
        events = json.loads((synth_root / "events" / f"{scene}.json").read_text())
        for seen in (False, True):
            judged = [e for e in events if not e["kind"].startswith("ego") and (e["kind"] == UNCOVERED) == seen]
            if seen and scene not in SCENES[:2]:  # rays take their time
                continue
            computed = run(forecaster, until_last(judged, sequence), seen) if judged else []
            for event in judged:
                was = noticed(event, sequence, computed)
                if was is not None:
                    found[event["kind"], was] += 1
    total, missed = sum(found.values()), sum(n for (_, was), n in found.items() if not was)
    assert total > 30, found
    assert missed <= 0.01 * total, found
