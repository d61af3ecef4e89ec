"""Streams as people annotate them: what moves steps from one velocity to the next, what stands does not jitter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genie.data.scenes import Scene, choose_scenes, load_scenes
from genie.data.tracks import SceneTracks
from genie.training.annotated import Annotator, annotate, derived_stream

EXACT = Annotator(placed=(1.0, 1.0), along_m=0.0, across_m=0.0, yaw_rad=0.0)


@pytest.fixture(scope="module")
def scene(synth_root: Path) -> Scene:
    return next(iter(load_scenes(synth_root, "stream", choose_scenes(synth_root, "stream")[:1])))


def places(tracks: SceneTracks) -> dict[int, np.ndarray]:
    """Of each instance that is annotated throughout, [F, 2]."""
    everywhere = set.intersection(*(set(b.instance.tolist()) for b in tracks.boxes))
    return {i: np.array([b.center_world[b.instance == i][0, :2] for b in tracks.boxes]) for i in sorted(everywhere)}


def second_differences(tracks: SceneTracks) -> np.ndarray:
    """Of what moves: lengths (m)."""
    found = [np.diff(xy, 2, axis=0) for xy in places(tracks).values() if np.ptp(xy, axis=0).max() > 5.0]
    return np.linalg.norm(np.concatenate(found), axis=-1)


def test_someone_exact_changes_nothing_and_derives_the_stream_that_comes_with_the_scene(
    scene: Scene, synth_root: Path
) -> None:
    assert scene.tracks is not None
    again = annotate(scene.tracks, np.random.default_rng(0), EXACT)
    for before, after in zip(scene.tracks.boxes, again.boxes, strict=True):
        np.testing.assert_allclose(after.center_world, before.center_world, atol=1e-9)
    mini = next(iter(load_scenes(synth_root, "stream-mini", [scene.sequence.name]))).sequence
    keyframes = np.isin(mini.timestamp_us, scene.tracks.stamp_us)
    derived = derived_stream(scene.sequence, again).semantics[keyframes]
    truth = mini.semantics[keyframes]
    assert np.count_nonzero(derived != truth) < 1e-3 * np.count_nonzero(truth != 17)


def test_velocities_step_and_what_stands_stays(scene: Scene) -> None:
    assert scene.tracks is not None
    again = annotate(scene.tracks, np.random.default_rng(3))
    exact, placed = places(scene.tracks), places(again)
    for instance, xy in exact.items():
        error = np.linalg.norm(placed[instance] - xy, axis=-1)
        assert error.max() < 2.5, "further off than anybody places a box"
        if np.ptp(xy, axis=0).max() < 1e-6:
            assert np.ptp(placed[instance], axis=0).max() < 1e-9, "what stands is copied from keyframe to keyframe"
    straight = (second_differences(scene.tracks) < 1e-6).mean(), (second_differences(again) < 1e-6).mean()
    assert straight[1] > straight[0] + 0.2, "nothing is interpolated"
    assert np.percentile(second_differences(again), 95) > 1.2 * np.percentile(second_differences(scene.tracks), 95)


def test_each_annotator_places_boxes_elsewhere_and_the_same_one_at_the_same_place(scene: Scene) -> None:
    assert scene.tracks is not None
    one, same, other = (places(annotate(scene.tracks, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert all(np.array_equal(one[i], same[i]) for i in one)
    assert any(not np.array_equal(one[i], other[i]) for i in one)
