"""Scenes to disk. A scene is written aside and moved into place; its rows in `.parts` mark it as complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from calib.files import atomic_path, write_json
from genie.data.synth.can_bus import pose_messages
from genie.data.synth.config import SynthConfig
from genie.data.synth.events import EGO, scene_events
from genie.data.synth.labels import write_labels
from genie.data.synth.names import VERSION, SceneNames
from genie.data.synth.samples import Row, schedule
from genie.data.synth.scenery import CELL
from genie.data.synth.sensor_files import RendererOf, ray_traced, write_sensors
from genie.data.synth.tables import common_tables, scene_tables
from genie.data.synth.world import World

PARTS = ".parts"
MAP_CELL = 0.1  # m per pixel of nuScenes' masks


def part_of(root: Path, names: SceneNames) -> Path:
    return root / PARTS / names.name


def write_scene(
    root: Path, world: World, config: SynthConfig, names: SceneNames, renderer_of: RendererOf = ray_traced
) -> None:
    """All files and table rows of one scene. A scene that was cut off is written anew."""
    aside = root / f".{names.name}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    files, rows = aside / "files", aside / "rows"
    write_labels(files, world, config, names)
    write_map(files / names.map_file, world)
    write_json(files / "can_bus" / f"{names.name}_pose.json", pose_messages(world, names), indent=None)
    write_json(files / "events" / f"{names.name}.json", event_records(world, names))
    shots = schedule(config)
    evidence = write_sensors(files, world, config, names, shots, renderer_of)
    rows.mkdir()
    for table, records in scene_tables(world, config, names, shots, evidence).items():
        (rows / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    for path in sorted(p for p in files.rglob("*") if p.is_file()):
        target = root / path.relative_to(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    part_of(root, names).parent.mkdir(exist_ok=True)
    rows.replace(part_of(root, names))  # last: it says that all the rest is there
    shutil.rmtree(aside)


def write_map(path: Path, world: World) -> None:
    """The drivable surface as nuScenes keeps it: 0.1 m per pixel, 255 drivable, y upwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = round(CELL / MAP_CELL)
    mask = np.where(world.scenery.drivable, 255, 0).astype(np.uint8)
    image = mask.T[::-1].repeat(scale, axis=0).repeat(scale, axis=1)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 3])


def event_records(world: World, names: SceneNames) -> list[Row]:
    """What happens in the scene, in the order of time; the ego's own events have no instance_token."""
    return [
        {
            "timestamp": names.stamp_us(round(event.t * 1e6)),
            "kind": event.kind,
            "instance_token": "" if event.instance == EGO else names.token("instance", event.instance),
            "translation": [float(event.x), float(event.y), float(event.z)],
        }
        for event in scene_events(world, world.duration)
    ]


def write_tables(root: Path, config: SynthConfig, scenes: Iterable[SceneNames]) -> None:
    """Joins the rows of all scenes into the tables, one scene in memory at a time."""
    scenes = list(scenes)
    shutil.rmtree(root / VERSION, ignore_errors=True)  # of a run that was cut off in the middle of this
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


def is_finished(root: Path) -> bool:
    """Whether all tables are there."""
    return (root / VERSION).is_dir() and not (root / PARTS).exists()


def finish(root: Path) -> None:
    """Drops the parts: at one stroke, so that a run that is cut off here is finished or not."""
    done = root / ".done"
    shutil.rmtree(done, ignore_errors=True)
    if (root / PARTS).exists():
        (root / PARTS).replace(done)
        shutil.rmtree(done)


def _lines(rows: list[Row]) -> list[str]:
    return [json.dumps(row) for row in rows]


def _read(root: Path, names: SceneNames, table: str) -> list[str]:
    return (part_of(root, names) / f"{table}.jsonl").read_text().splitlines()
