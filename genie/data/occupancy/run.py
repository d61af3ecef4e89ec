"""A whole data root: which keyframes want labels, scene by scene, in one process or several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from calib.errors import InputError
from calib.files import atomic_path
from genie.data.nuscenes import find_version, keyframes, open_nuscenes, scene_names
from genie.data.occupancy.build import SceneBuilder, cameras
from genie.data.occupancy.config import OccupancyConfig
from genie.data.occupancy.sweeps import list_sweeps
from perception.types import Occupancy

if TYPE_CHECKING:
    from nuscenes import NuScenes


class SceneReport(NamedTuple):
    """written, kept: keyframes labelled now and before. unseen: keyframes without a lidar file of their own.
    sweeps, missing: lidar files of the scene that are there and that are not. cameras: of its first keyframe; where
    there are none, mask_camera is empty."""

    scene: str
    written: int
    kept: int
    unseen: int
    sweeps: int
    missing: int
    cameras: int


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
    progress: Callable[[SceneReport, int], None] = lambda report, scenes: None,
) -> list[SceneReport]:
    """Writes OUT/<scene>/<sample token>/labels.npz for each keyframe that has a sweep and no label yet.

    Args:
        dataroot: a nuScenes. out: dataroot/gts where None.
        scenes: names; all where None.
        jobs: processes, one scene each at a time. They change nothing in the files.
        overwrite: replace labels that are there.
        progress: called after each scene, with the number of all scenes.

    Raises:
        InputError: wrong root, unknown scene, no lidar file in any of the scenes, a damaged file, or jobs below 1.
    """
    if jobs < 1:
        raise InputError(f"{jobs} jobs", expected="1 or more", fix="give --jobs the number of processes")
    dataroot = Path(dataroot)
    version = find_version(dataroot, version)
    nusc = _tables(dataroot, version)
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
        progress(report, len(names))
        reports.append(report)
    return sorted(reports)


def _run(job: Job, names: list[str], jobs: int) -> Iterator[SceneReport]:
    if jobs == 1 or len(names) < 2:
        for name in names:
            yield build_scene(job, name)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(build_scene, job, name) for name in names]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@lru_cache(maxsize=1)
def _tables(dataroot: Path, version: str) -> NuScenes:
    """Once for each process: the tables of all of nuScenes take half a minute to open."""
    return open_nuscenes(dataroot, version)


def build_scene(job: Job, scene: str) -> SceneReport:
    """Labels the keyframes of one scene that have a sweep and, unless job.overwrite, no label yet."""
    cv2.setNumThreads(1)
    nusc = _tables(job.dataroot, job.version)
    sweeps = list_sweeps(nusc, scene)
    seen = [s.keyframe for s in sweeps.found if s.keyframe]
    paths = {token: job.out / scene / token / "labels.npz" for token in seen}
    todo = [token for token in seen if job.overwrite or not paths[token].exists()]
    if todo:
        builder = SceneBuilder(nusc, scene, sweeps.found, job.config)
        for token in todo:
            write_labels(paths[token], builder.label(token))
    frames = [frame.token for frame in keyframes(nusc, scene)]
    return SceneReport(
        scene,
        written=len(todo),
        kept=len(seen) - len(todo),
        unseen=len(frames) - len(seen),
        sweeps=len(sweeps.found),
        missing=sweeps.missing,
        cameras=len(cameras(nusc, frames[0])),
    )


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
