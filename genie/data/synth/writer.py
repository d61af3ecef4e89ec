"""Scenes to disk. A scene is written aside and moved into place; its rows in `.parts` mark it as complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from calib.files import atomic_path
from genie.data.synth.config import KEYFRAME_EVERY, STREAM_HZ, SynthConfig
from genie.data.synth.rasterise import rasterise
from genie.data.synth.scenery import CELL
from genie.data.synth.sensors import Sensor
from genie.data.synth.tables import VERSION, Row, SceneNames, common_tables, scene_tables
from genie.data.synth.world import World

PARTS = ".parts"
MAP_CELL = 0.1  # m per pixel of nuScenes' masks


def part_of(root: Path, names: SceneNames) -> Path:
    return root / PARTS / names.name


def write_scene(
    root: Path, world: World, config: SynthConfig, names: SceneNames, sensors: Sequence[Sensor] = ()
) -> None:
    """Labels, stream, map, sensor files and table rows of one scene. A scene that was cut off is written anew."""
    aside = root / f".{names.name}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "gts").mkdir(parents=True)
    _write_labels(aside, world, config, names)
    _write_map(aside / "map.png", world)
    tables = scene_tables(world, config, names)
    (aside / "rows").mkdir()
    for table, rows in tables.items():
        (aside / "rows" / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    moves = [(aside / "gts", root / "gts" / names.name), (aside / "map.png", root / names.map_file)]
    if config.stream:
        moves.append((aside / "stream.npz", root / "stream" / f"{names.name}.npz"))
    for sensor in sensors:
        for row in tables["sample_data"]:
            if f"__{sensor.channel}__" in row["filename"]:
                (root / row["filename"]).parent.mkdir(parents=True, exist_ok=True)
                sensor.write(world, (row["timestamp"] - names.start_us) * 1e-6, root / row["filename"])
    moves.append((aside / "rows", part_of(root, names)))  # last: it says that all the rest is there
    for source, target in moves:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        source.replace(target)
    aside.rmdir()


def _write_labels(aside: Path, world: World, config: SynthConfig, names: SceneNames) -> None:
    """Keyframe labels, and with them the stream: both from the same frames."""
    every = 1 if config.stream else KEYFRAME_EVERY
    frames = range(0, config.frames, every)
    stream = np.empty((len(frames) if config.stream else 0, 200, 200, 16), np.uint8)
    ones = np.ones((200, 200, 16), np.uint8)
    for frame in frames:
        semantics = rasterise(world, frame / STREAM_HZ)
        if config.stream:
            stream[frame] = semantics
        if frame % KEYFRAME_EVERY == 0:
            folder = aside / "gts" / names.sample_token(frame // KEYFRAME_EVERY)
            folder.mkdir()
            np.savez_compressed(folder / "labels.npz", semantics=semantics, mask_lidar=ones, mask_camera=ones)
    if config.stream:
        poses = [world.ego(frame / STREAM_HZ) for frame in frames]
        np.savez_compressed(
            aside / "stream.npz",
            semantics=stream,
            timestamp_us=np.array([names.stamp_us(frame) for frame in frames], np.int64),
            ego_xyz=np.array([p.xyz for p in poses]),
            ego_yaw=(np.array([p.yaw for p in poses]) + np.pi) % (2 * np.pi) - np.pi,
        )


def _write_map(path: Path, world: World) -> None:
    """The drivable surface as nuScenes keeps it: 0.1 m per pixel, 255 drivable, y upwards."""
    scale = round(CELL / MAP_CELL)
    mask = np.where(world.scenery.drivable, 255, 0).astype(np.uint8)
    image = mask.T[::-1].repeat(scale, axis=0).repeat(scale, axis=1)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 3])


def write_tables(root: Path, config: SynthConfig, scenes: Iterable[SceneNames]) -> None:
    """Joins the rows of all scenes into the 13 tables, one scene in memory at a time."""
    scenes = list(scenes)
    common = common_tables(config)
    tables = [*common, *(p.stem for p in sorted(part_of(root, scenes[0]).glob("*.jsonl")))]
    for table in tables:
        with atomic_path(root / VERSION / f"{table}.json") as temporary, temporary.open("w") as out:
            out.write("[\n")
            first = True
            blocks = [_lines(common[table])] if table in common else (_read(root, n, table) for n in scenes)
            for block in blocks:
                for line in block:
                    out.write(line if first else ",\n" + line)
                    first = False
            out.write("\n]\n")
    shutil.rmtree(root / PARTS)


def _lines(rows: list[Row]) -> list[str]:
    return [json.dumps(row) for row in rows]


def _read(root: Path, names: SceneNames, table: str) -> list[str]:
    return (part_of(root, names) / f"{table}.jsonl").read_text().splitlines()
