"""Annotated boxes at any time: they must be where the stream shows them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes

from calib.transforms import inverse, wrap_angle
from genie.boxes import rasterise_boxes
from genie.data.nuscenes import keyframes, open_nuscenes
from genie.data.stream import load_stream
from genie.data.tracks import Boxes, SceneTracks, load_tracks
from perception.types import DRIVEABLE, FREE

SCENE = "scene-0553"  # no two of its boxes overlap
pytestmark = pytest.mark.mini


@pytest.fixture(scope="module")
def tables(mini_root: Path) -> NuScenes:
    return open_nuscenes(mini_root)


@pytest.fixture(scope="module")
def tracks(tables: NuScenes) -> SceneTracks:
    return load_tracks(tables, SCENE)


def test_rasterised_boxes_are_the_stream_voxel_by_voxel(mini_root: Path, tracks: SceneTracks) -> None:
    """Between keyframes too: centres, sizes, headings, classes and ego poses must all be right for this."""
    stream = load_stream(mini_root, SCENE)
    for t in (0, 3, 52, 101, 148, 200):
        seen = np.where(stream.semantics[t] == DRIVEABLE, FREE, stream.semantics[t])
        boxes = tracks.at(int(stream.timestamp_us[t]))
        assert (seen != FREE).sum() > 1000
        np.testing.assert_array_equal(rasterise_boxes(boxes, inverse(stream.world_from_ego[t])), seen)


def test_keyframe_boxes_and_velocities_are_the_devkits(tables: NuScenes, tracks: SceneTracks) -> None:
    frame = keyframes(tables, SCENE)[7]
    boxes = tracks.at(frame.stamp_us)
    tokens = tables.get("sample", frame.token)["anns"]
    assert len(boxes) == len(tokens)
    for token in tokens:
        box = tables.get_box(token)
        row = int(np.argmin(np.linalg.norm(boxes.center_world - box.center, axis=1)))
        np.testing.assert_allclose(boxes.center_world[row], box.center, atol=1e-9)
        np.testing.assert_allclose(boxes.size_lwh[row], np.asarray(box.wlh)[[1, 0, 2]])
        assert abs(wrap_angle(boxes.yaw_world[row] - box.orientation.yaw_pitch_roll[0])) < 1e-9
        np.testing.assert_allclose(boxes.velocity_world[row], tables.box_velocity(token)[:2])


def test_between_keyframes_instances_keep_their_index_and_turn_the_short_way(
    tables: NuScenes, tracks: SceneTracks
) -> None:
    frames = keyframes(tables, SCENE)
    for before, after in itertools.pairwise(frames):
        first, last = tracks.at(before.stamp_us), tracks.at(after.stamp_us)
        middle = tracks.at((before.stamp_us + after.stamp_us) // 2)
        np.testing.assert_array_equal(middle.instance, np.intersect1d(first.instance, last.instance))
        start, end = (b.select(np.isin(b.instance, middle.instance)) for b in (first, last))
        start, end = (b.select(np.argsort(b.instance)) for b in (start, end))
        np.testing.assert_allclose(middle.center_world, (start.center_world + end.center_world) / 2, atol=1e-4)
        half = wrap_angle(end.yaw_world - start.yaw_world) / 2
        np.testing.assert_allclose(wrap_angle(middle.yaw_world - start.yaw_world), half, atol=1e-4)


def test_nothing_is_annotated_outside_the_scene(tables: NuScenes, tracks: SceneTracks) -> None:
    frames = keyframes(tables, SCENE)
    assert len(tracks.at(frames[0].stamp_us - 1)) == 0
    assert len(tracks.at(frames[-1].stamp_us + 1)) == 0


def test_a_heading_across_the_seam_turns_the_short_way() -> None:
    def box(yaw: float, x: float) -> Boxes:
        one, vectors = np.ones(1, np.int64), np.ones((1, 3))
        return Boxes(one, one, x * vectors, vectors, np.array([yaw]), np.zeros((1, 2)))

    tracks = SceneTracks(np.array([0, 1000]), (box(3.0, 0.0), box(-3.0, 4.0)))
    middle = tracks.at(250)
    short = 2 * np.pi - 6.0
    assert wrap_angle(middle.yaw_world[0] - 3.0) == pytest.approx(short / 4)
    np.testing.assert_allclose(middle.center_world, [[1.0, 1.0, 1.0]])
