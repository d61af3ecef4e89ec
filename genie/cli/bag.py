"""`geniedrive bag`: a scene as a rosbag2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from genie.data.sequence import Sequence


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(bag)


def bag(
    dataroot: Annotated[Path, typer.Argument(help="A nuScenes data root, real or synthetic.")],
    *,
    scene: Annotated[str, typer.Option(help="Scene name, e.g. scene-0061.")],
    out: Annotated[Path, typer.Option(help="Folder of the bag; must not exist yet.")],
    source: Annotated[
        Literal["auto", "stream", "stream-mini", "occ3d", "none"],
        typer.Option(help="Which occupancy goes along; auto: the first that there is."),
    ] = "auto",
) -> None:
    """Write a scene as a rosbag2 (MCAP) with its true stamps: sensors, /odom, /imu, /tf, boxes, occupancy."""
    from genie.data.bag.source import BagSource
    from genie.data.bag.write import write_bag
    from genie.data.nuscenes import open_nuscenes

    nusc = open_nuscenes(dataroot)
    summary = write_bag(BagSource(nusc, scene), _occupancy(dataroot, scene, source), out)
    for topic, count in summary.counts.items():
        typer.echo(f"{count:6d}  {topic}")
    typer.echo(f"poses: {summary.poses}")
    if summary.missing:
        typer.echo(f"not in this data root: {', '.join(summary.missing)}")


def _occupancy(dataroot: Path, scene: str, source: str) -> Sequence | None:
    from genie.data.occ3d import list_labelled_scenes, load_keyframes
    from genie.data.stream import is_stream, list_stream_scenes, load_stream

    if source == "auto":
        source = next((s for s in ("stream", "stream-mini") if scene in list_stream_scenes(dataroot, s)), "")
        source = source or ("occ3d" if scene in list_labelled_scenes(dataroot) else "none")
    if source == "none":
        return None
    return load_stream(dataroot, scene, source=source) if is_stream(source) else load_keyframes(dataroot, scene)
