"""`generate`: a whole synthetic data set, scene by scene, in one process or several."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import cv2

from calib.errors import InputError
from calib.files import write_json
from genie.data.synth.config import SynthConfig
from genie.data.synth.names import SceneNames
from genie.data.synth.sensor_files import RendererOf, ray_traced
from genie.data.synth.world import scene_world
from genie.data.synth.writer import finish, is_finished, part_of, write_scene, write_tables

MANIFEST = "synth.json"
GENERATOR = 4  # raised when equal configs give other bytes than before


def generate(
    out: Path,
    config: SynthConfig,
    *,
    jobs: int = 1,
    resume: bool = False,
    renderer_of: RendererOf = ray_traced,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Writes a data root that `NuScenes("v1.0-synth", out)` loads.

    An interrupted run is taken up where it stopped; a finished one of the same config is left as it is.

    Args:
        out: a folder that is absent, empty, or holds (part of) the same data set.
        config: what to write.
        jobs: processes. They change nothing in the files.
        resume: insist that there is something to take up.
        renderer_of: makes the renderer of a world's sensors; it is sent to the processes.
        progress: called with the name of each scene that is complete.

    Raises:
        InputError: `out` holds something else, or nothing that could be resumed, or `jobs` is below 1.
    """
    if jobs < 1:
        raise InputError(f"{jobs} jobs", expected="1 or more", fix="give --jobs the number of processes")
    if resume and not (out / MANIFEST).is_file():
        raise InputError(
            f"there is no {MANIFEST}", expected="a run that was begun", fix="leave out --resume to begin one", path=out
        )
    _claim(out, config)
    scenes = [SceneNames(config.seed, index) for index in range(config.scenes)]
    finished = is_finished(out)
    todo = [] if finished else [n.index for n in scenes if not part_of(out, n).is_dir()]
    for names in scenes:
        if names.index not in todo:
            progress(names.name)
    for name in _run(out, config, todo, jobs, renderer_of):
        progress(name)
    if not finished:
        write_tables(out, config, scenes)
    finish(out)


def _claim(out: Path, config: SynthConfig) -> None:
    """Marks the folder as ours, or refuses it."""
    manifest = {"generator": GENERATOR, **asdict(config)}
    if config.camera_sweeps:
        del manifest["camera_sweeps"]  # data sets from before there was a choice have them, and stay resumable
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


def _run(out: Path, config: SynthConfig, todo: list[int], jobs: int, renderer_of: RendererOf) -> Iterator[str]:
    if jobs == 1 or len(todo) < 2:
        for index in todo:
            yield _scene(out, config, index, renderer_of)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(_scene, out, config, index, renderer_of) for index in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A process whose parent was killed ends at once: it would write into the folder that the next run takes up."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _scene(out: Path, config: SynthConfig, index: int, renderer_of: RendererOf) -> str:
    cv2.setNumThreads(1)
    names = SceneNames(config.seed, index)
    write_scene(out, scene_world(config, index), config, names, renderer_of)
    return names.name
