"""Keyframes of a nuScenes data root as perception's inputs with their truth, through nuscenes-devkit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.rig import Rig
from calib.rig_import import rig_from_nuscenes
from calib.tables import read_image, read_sweep
from calib.transforms import Array
from genie.data.nuscenes import open_nuscenes, scene_names, scene_record
from genie.data.occ3d import label_path, read_labels
from genie.data.occupancy.sweeps import pose_of
from perception.config import CAMERAS, LIDAR
from perception.frames import Frame, FrameStore
from perception.prepare import RigPlan, camera_input, depth_truth, plan_rig
from perception.voxelize import LidarSweep, VoxelSums

if TYPE_CHECKING:
    from nuscenes import NuScenes


@dataclass(frozen=True, eq=False)
class KeyframeSensors:
    """What was measured at a keyframe. sweeps: the newest last. images: native BGR by camera. world_from_ego: of each
    image, [4, 4] at its stamp."""

    sweeps: tuple[LidarSweep, ...]
    images: dict[str, NDArray[np.uint8]]
    world_from_ego: dict[str, Array]


def prepare_frames(
    dataroot: Path,
    store: FrameStore,
    scenes: list[str] | None = None,
    progress: Callable[[list[str]], Iterable[str]] = lambda names: names,
) -> dict[str, list[str]]:
    """Fills the store with the labelled keyframes whose sensor files are there; scene -> tokens in time order.

    Raises:
        InputError: unusable tables, an unknown scene, or no labelled keyframe with a sweep at all.
    """
    nusc = open_nuscenes(dataroot)
    found = {}
    for name in progress(scenes or scene_names(nusc)):
        tokens = []
        plan: RigPlan | None = None
        for sample in _samples(nusc, name):
            label = label_path(dataroot, name, sample["token"])
            if label is None or not _file(nusc, sample["data"][LIDAR]).is_file():
                continue
            tokens.append(sample["token"])
            if store.path(name, sample["token"]).is_file():
                continue
            if plan is None:
                rig = rig_of(nusc, sample)
                store.write_rig(name, rig)
                plan = plan_rig(rig, store.config)
            sensors = read_keyframe(nusc, sample, store.config.sweeps)
            store.write(name, sample["token"], make_frame(plan, sensors, label))
        if tokens:
            found[name] = tokens
    if not found:
        raise InputError(
            "no keyframe with both a lidar sweep and labels",
            expected="samples/LIDAR_TOP/*.pcd.bin, and gts/SCENE/TOKEN/labels.npz",
            fix="download both, or write them: geniedrive data synth OUT --lidar --cameras",
            path=dataroot,
        )
    return found


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A keyframe whose sweep is there. sample: its row of the tables. speed_m_s: of the ego, from the keyframe before
    (of the first: to the next). sweep: its file. images: those that are there, by camera."""

    sample: dict[str, Any]
    stamp_us: int
    speed_m_s: float
    sweep: Path
    images: dict[str, Path]


def keyframes(nusc: NuScenes, scene: str) -> list[Keyframe]:
    """Those of a scene, labelled or not, in time order."""
    samples = [s for s in _samples(nusc, scene) if _file(nusc, s["data"][LIDAR]).is_file()]
    poses = [pose_of(nusc, nusc.get("sample_data", s["data"][LIDAR])).world_from_ego for s in samples]
    stamps = [int(s["timestamp"]) for s in samples]
    found = []
    for number, sample in enumerate(samples):
        other = number - 1 if number else min(1, len(samples) - 1)
        seconds = abs(stamps[number] - stamps[other]) * 1e-6
        far = float(np.linalg.norm(poses[number][:3, 3] - poses[other][:3, 3]))
        files = {c: _file(nusc, sample["data"][c]) for c in CAMERAS if c in sample["data"]}
        there = {name: path for name, path in files.items() if path.is_file()}
        sweep, speed_m_s = _file(nusc, sample["data"][LIDAR]), far / seconds if seconds else 0.0
        found.append(Keyframe(sample, stamps[number], speed_m_s, sweep, there))
    return found


def make_frame(plan: RigPlan, sensors: KeyframeSensors, label: Path) -> Frame:
    """
    Raises:
        InputError: a damaged label; names the file.
    """
    truth = read_labels(label)
    everywhere = np.ones(truth.semantics.shape, bool)
    seen = camera_input(plan, sensors.images)
    newest = sensors.sweeps[-1]
    sums = VoxelSums(newest.world_from_ego, newest.stamp_us)
    sums.add(newest)
    alone = sums.features().encoded()
    for sweep in sensors.sweeps[:-1]:
        sums.add(sweep)
    return Frame(
        sums.features().encoded(),
        alone,
        seen.images,
        seen.present,
        depth_truth(plan, newest, sensors.world_from_ego),
        truth.semantics,
        everywhere if truth.mask_lidar is None else truth.mask_lidar,
        everywhere if truth.mask_camera is None else truth.mask_camera,
        newest.world_from_ego,
        newest.ego_from_sensor,
    )


def rig_of(nusc: NuScenes, sample: dict[str, Any]) -> Rig:
    """The rig that a sample was measured with."""
    rows = {c: nusc.get("sample_data", sample["data"][c]) for c in (LIDAR, *CAMERAS) if c in sample["data"]}
    calibrated = [nusc.get("calibrated_sensor", row["calibrated_sensor_token"]) for row in rows.values()]
    sizes = {c: (int(row["width"]), int(row["height"])) for c, row in rows.items() if c != LIDAR}
    return rig_from_nuscenes(str(nusc.get("scene", sample["scene_token"])["name"]), calibrated, nusc.sensor, sizes)


def read_keyframe(nusc: NuScenes, sample: dict[str, Any], sweeps: int) -> KeyframeSensors:
    """The sweep of a keyframe with up to `sweeps` - 1 before it, and the images; those whose files are there."""
    images: dict[str, NDArray[np.uint8]] = {}
    poses: dict[str, Array] = {}
    for name in CAMERAS:
        if name in sample["data"] and _file(nusc, sample["data"][name]).is_file():
            images[name] = read_image(_file(nusc, sample["data"][name]))
            poses[name] = pose_of(nusc, nusc.get("sample_data", sample["data"][name])).world_from_ego
    return KeyframeSensors(read_sweeps(nusc, sample, sweeps), images, poses)


def read_sweeps(nusc: NuScenes, sample: dict[str, Any], sweeps: int) -> tuple[LidarSweep, ...]:
    """That of a keyframe with up to `sweeps` - 1 before it, the newest last."""
    token = sample["data"][LIDAR]
    gathered: list[LidarSweep] = []
    while token and len(gathered) < sweeps:
        row = nusc.get("sample_data", token)
        if not _file(nusc, token).is_file():
            break
        pose = pose_of(nusc, row)
        points = read_sweep(_file(nusc, token))
        gathered.append(LidarSweep(points, int(row["timestamp"]), pose.world_from_ego, pose.ego_from_sensor))
        token = row["prev"]
    return tuple(gathered[::-1])


def _samples(nusc: NuScenes, scene: str) -> Iterable[dict[str, Any]]:
    token = scene_record(nusc, scene)["first_sample_token"]
    while token:
        sample = nusc.get("sample", token)
        if LIDAR in sample["data"]:
            yield sample
        token = sample["next"]


def _file(nusc: NuScenes, token: str) -> Path:
    return Path(nusc.dataroot) / str(nusc.get("sample_data", token)["filename"])
