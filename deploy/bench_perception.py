"""How long a frame of perception takes, over keyframes of a data root: decoding, preparing, the graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.files import write_json, write_text
from calib.rig import Rig
from calib.tables import read_image
from deploy.bench import APART, TOTAL, BundleTimes
from deploy.bench_report import Run, footer, run_tree, stage_rows, times_tree
from deploy.perceive import Perception
from deploy.perception_spec import PerceptionManifest, read_perception_manifest
from deploy.runtime import BACKENDS
from genie.data.nuscenes import open_nuscenes, scene_names
from genie.data.perception_frames import keyframes, read_sweeps, rig_of
from perception.voxelize import LidarSweep

STAGES = ("decode", "prepare", "perceive", TOTAL)


class Moment(NamedTuple):
    """What the sensors delivered. images: their files, by camera."""

    rig: Rig
    sweeps: tuple[LidarSweep, ...]
    images: dict[str, Path]


def moments(dataroot: Path | None, sweeps: int, count: int) -> Iterator[Moment]:
    """The first `count` keyframes of a data root, scene by scene.

    Raises:
        InputError: there are fewer, or no data root is given.
    """
    if dataroot is None:
        raise InputError(
            "a perception without --dataroot",
            expected="a data root with sensor files, which it is timed on",
            fix="make one: geniedrive data synth --lidar --cameras",
        )
    nusc = open_nuscenes(dataroot)
    found = [keyframe for scene in scene_names(nusc) for keyframe in keyframes(nusc, scene)]
    if len(found) < count:
        raise InputError(
            f"{len(found)} keyframes with sensor files", expected=f"{count} or more", fix="choose fewer --ticks",
            path=dataroot,
        )  # fmt: skip
    for keyframe in found[:count]:
        yield Moment(rig_of(nusc, keyframe.sample), read_sweeps(nusc, keyframe.sample, sweeps), keyframe.images)


def measure_perception(
    exports: Sequence[Path],
    dataroot: Path | None,
    count: int,
    *,
    threads: int = 2,
    on_frame: Callable[[], None] = lambda: None,
) -> list[BundleTimes]:
    """Times every export over the same frames, in turns, as deploy.bench.measure does.

    Args:
        count: of keyframes; more than APART.

    Raises:
        InputError: one is no export of a perception, or too few keyframes.
    """
    if count <= APART:
        raise ValueError(f"{count} frames: the first {APART} are told apart, so there must be more")
    manifests = [read_perception_manifest(export) for export in exports]
    times = [BundleTimes(_name(m), m.bundle_id, {s: [] for s in STAGES}, starts=[0]) for m in manifests]
    rig: Rig | None = None
    networks: list[Perception] = []
    for moment in moments(dataroot, max(m.config.model.sweeps for m in manifests), count):
        if rig is None or rig.sha256 != moment.rig.sha256:
            rig = moment.rig
            networks = [Perception(export, rig, threads=threads) for export in exports]
            for network in networks:
                network.warm_up()
        for network, found in zip(networks, times, strict=True):
            start = time.perf_counter()
            images: dict[str, NDArray[np.uint8]] = {n: read_image(f) for n, f in moment.images.items()}
            decoded = time.perf_counter()
            stages = network.perceive(moment.sweeps, images).stage_ms
            total_ms = (time.perf_counter() - start) * 1e3
            for stage, ms in {"decode": (decoded - start) * 1e3, **stages, TOTAL: total_ms}.items():
                found.ticks_ms[stage].append(ms)
            found.rows.append(0)
        on_frame()
    return times


def _name(manifest: PerceptionManifest) -> str:
    return f"{manifest.config.name}, {manifest.precision}"


def write_perception_times(out: Path, run: Run, times: Sequence[BundleTimes]) -> None:
    """OUT/perception-times.md to read and OUT/perception-times.json to compare, each whole or not at all."""
    kept = ("name", "bundle_id", "first_ms", "later_ms", "ticks_ms")
    trees = [times_tree(t) for t in times]
    bundles = [{key: tree[key] for key in kept} for tree in trees]
    write_json(out / "perception-times.json", {**run_tree(run), "bundles": bundles})
    write_text(out / "perception-times.md", _markdown(run, times))


def _markdown(run: Run, times: Sequence[BundleTimes]) -> str:
    return "\n".join(
        [
            "# Time of a frame of perception",
            "",
            f"`Perception.perceive` on {BACKENDS[run.backend]}, {run.threads} threads; {run.ticks} keyframes of "
            f"{run.stream}, which all took in turns. decode: the images from their files; prepare: sweeps to voxels, "
            "images to the network's size; perceive: the graph. Milliseconds, after a warm-up as on the car; the first "
            "two frames are in no other column.",
            "",
            "| network | export | stage | 1st frame | 2nd frame | median | p95 | p99 | max |",
            "|---|---|---|---:|---:|---:|---:|---:|---:|",
            *(row for t in times for row in stage_rows(t, t.name)),
            "",
            *footer(run),
        ]
    )
