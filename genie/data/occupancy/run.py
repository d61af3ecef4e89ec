"""A whole data root: which keyframes want labels, scene by scene, in one process or several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calib.errors import InputError
from calib.files import atomic_path
from genie.data.nuscenes import find_version, keyframes, open_nuscenes, scene_names
from genie.data.occupancy.config import OccupancyConfig
from genie.data.occupancy.sweeps import list_sweeps
from perception.types import Occupancy


class SceneReport(NamedTuple):
    """written, kept: keyframes labelled now and before. unseen: keyframes without a lidar file of their own.
    sweeps, missing: lidar files of the scene that are there and that are not."""

    scene: str
    written: int
    kept: int
    unseen: int
    sweeps: int
    missing: int


class Job(NamedTuple):
    dataroot: Path
    version: str
    out: Path
    config: OccupancyConfig
    overwrite: bool


def build_labels(
    dataroot: Path | str,
    out: Path | str | None = None,
    *,
    version: str | None = None,
    scenes: Sequence[str] | None = None,
    config: OccupancyConfig = OccupancyConfig(),
    jobs: int = 1,
    overwrite: bool = False,
    progress: Callable[[SceneReport], None] = lambda report: None,
) -> list[SceneReport]:
    """Writes OUT/<scene>/<sample token>/labels.npz for each keyframe that has a sweep and no label yet.

    Args:
        dataroot: a nuScenes. out: dataroot/gts where None.
        scenes: names; all where None.
        jobs: processes, one scene each at a time. They change nothing in the files.
        overwrite: replace labels that are there.
        progress: called after each scene.

    Raises:
        InputError: wrong root, unknown scene, no lidar file in any of the scenes, a damaged file, or jobs below 1.
    """
    if jobs < 1:
        raise InputError(f"{jobs} jobs", expected="1 or more", fix="give --jobs the number of processes")
    dataroot = Path(dataroot)
    version = find_version(dataroot, version)
    nusc = open_nuscenes(dataroot, version)
    names = list(scenes) if scenes else scene_names(nusc)
    if not any([list_sweeps(nusc, name).found for name in names]):  # a list: each name is checked before work begins
        raise InputError(
            f"no lidar file of {', '.join(names[:3])}{' ...' * (len(names) > 3)} is there",
            expected="samples/LIDAR_TOP/*.pcd.bin, and sweeps/LIDAR_TOP for dense labels",
            fix="unpack the lidar files, or make them: `geniedrive data synth --lidar`",
            path=dataroot,
        )
    job = Job(dataroot, version, Path(out) if out is not None else dataroot / "gts", config, overwrite)
    reports = []
    for report in _run(job, names, jobs):
        progress(report)
        reports.append(report)
    return sorted(reports)


def _run(job: Job, names: list[str], jobs: int) -> Iterator[SceneReport]:
    if jobs == 1 or len(names) < 2:
        nusc = open_nuscenes(job.dataroot, job.version)
        for name in names:
            yield build_scene(job, name, nusc)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(build_scene, job, name) for name in names]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def build_scene(job: Job, scene: str, nusc=None) -> SceneReport:  # type: ignore[no-untyped-def]
    """Labels one scene. `nusc`: the opened tables, to save opening them again."""
    from genie.data.occupancy.build import SceneBuilder

    nusc = nusc or open_nuscenes(job.dataroot, job.version)
    sweeps = list_sweeps(nusc, scene)
    seen = [s.keyframe for s in sweeps.found if s.keyframe]
    paths = {token: job.out / scene / token / "labels.npz" for token in seen}
    todo = [token for token in seen if job.overwrite or not paths[token].exists()]
    if todo:
        builder = SceneBuilder(nusc, scene, sweeps.found, job.config)
        for token in todo:
            write_labels(paths[token], builder.label(token))
    unseen = len(keyframes(nusc, scene)) - len(seen)
    return SceneReport(scene, len(todo), len(seen) - len(todo), unseen, len(sweeps.found), sweeps.missing)


def write_labels(path: Path, labels: Occupancy) -> None:
    """One labels.npz in the layout of Occ3D: uint8 arrays semantics, mask_lidar and mask_camera."""
    assert labels.mask_lidar is not None and labels.mask_camera is not None
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            semantics=labels.semantics,
            mask_lidar=labels.mask_lidar.astype(np.uint8),
            mask_camera=labels.mask_camera.astype(np.uint8),
        )
