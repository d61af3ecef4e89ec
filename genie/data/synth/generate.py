"""`generate`: a whole synthetic data set, scene by scene, in one process or several."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from calib.errors import InputError
from calib.files import write_json
from genie.data.synth.config import SynthConfig
from genie.data.synth.sensors import Sensor
from genie.data.synth.tables import VERSION, SceneNames
from genie.data.synth.world import World, build_world
from genie.data.synth.writer import part_of, write_scene, write_tables

MANIFEST = "synth.json"
GENERATOR = 2  # raised when equal configs give other bytes than before


def scene_world(config: SynthConfig, index: int) -> World:
    """The world of scene `index` (from 0). It depends on seed, index and length, not on the other scenes."""
    return build_world(np.random.default_rng([config.seed, index]), config.frames)


def generate(
    out: Path,
    config: SynthConfig,
    *,
    jobs: int = 1,
    sensors: tuple[Sensor, ...] = (),
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Writes a data root that `NuScenes("v1.0-synth", out)` loads.

    An interrupted run is taken up where it stopped; a finished one of the same config is left as it is.

    Args:
        out: a folder that is absent, empty, or holds (part of) the same data set.
        config: what to write.
        jobs: processes. They change nothing in the files.
        sensors: what writes sensor files; they are sent to the processes.
        progress: called with the name of each scene that is complete.

    Raises:
        InputError: `out` holds something else, or `jobs` is below 1.
    """
    if jobs < 1:
        raise InputError(f"{jobs} jobs", expected="1 or more", fix="give --jobs the number of processes")
    _claim(out, config)
    scenes = [SceneNames(config.seed, index) for index in range(config.scenes)]
    finished = (out / VERSION / "scene.json").is_file() and not (out / ".parts").exists()
    todo = [] if finished else [n.index for n in scenes if not part_of(out, n).is_dir()]
    for names in scenes:
        if names.index not in todo:
            progress(names.name)
    for name in _run(out, config, todo, jobs, sensors):
        progress(name)
    if not finished:
        write_tables(out, config, scenes)


def _claim(out: Path, config: SynthConfig) -> None:
    """Marks the folder as ours, or refuses it."""
    manifest = {"generator": GENERATOR, **asdict(config)}
    path = out / MANIFEST
    if out.exists() and not out.is_dir():
        raise InputError("this is a file", expected="a folder", fix="choose another OUT", path=out)
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(
                f"not JSON: {error}", expected="what `geniedrive data synth` wrote", fix="choose another OUT", path=path
            ) from error
        if found != manifest:
            raise InputError(
                f"it holds another data set: {found}",
                expected=f"{manifest}, or an empty folder",
                fix="choose another OUT, or remove this one",
                path=out,
            )
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(
            f"the folder is not empty and has no {MANIFEST}",
            expected="a new or empty folder",
            fix="choose another OUT: nothing is ever written over other data",
            path=out,
        )
    write_json(path, manifest)


def _run(out: Path, config: SynthConfig, todo: list[int], jobs: int, sensors: tuple[Sensor, ...]) -> Iterator[str]:
    if jobs == 1 or len(todo) < 2:
        for index in todo:
            yield _scene(out, config, index, sensors)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_scene, out, config, index, sensors) for index in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _scene(out: Path, config: SynthConfig, index: int, sensors: tuple[Sensor, ...]) -> str:
    cv2.setNumThreads(1)
    names = SceneNames(config.seed, index)
    write_scene(out, scene_world(config, index), config, names, sensors)
    return names.name
