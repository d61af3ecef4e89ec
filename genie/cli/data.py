"""`geniedrive data ...`: what a data root holds, and the synthetic nuScenes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from genie.cli.occupancy import occupancy
from genie.cli.statistics import statistics

if TYPE_CHECKING:
    from genie.data.synth.config import SynthConfig

app = typer.Typer(help="Inspect nuScenes data and make synthetic data.", no_args_is_help=True, rich_markup_mode=None)
app.command()(occupancy)
app.command()(statistics)


@app.command()
def synth(
    out: Path = typer.Argument(..., help="Folder for the data root: new, empty, or an interrupted run of the same."),
    *,
    scenes: int = typer.Option(10, help="How many scenes."),
    seconds: float = typer.Option(20.0, help="Length of each scene (s)."),
    seed: int = typer.Option(0, help="Equal seeds give equal bytes."),
    stream: bool = typer.Option(True, help="Also write 10 Hz labels, in both styles: stream/ and stream-mini/."),
    lidar: bool = typer.Option(False, "--lidar", help="Also write the lidar: 20 Hz sweeps, lidarseg, panoptic."),
    cameras: bool = typer.Option(False, "--cameras", help="Also write six cameras at 12 Hz."),
    camera_sweeps: bool = typer.Option(
        True, help="Without: images at keyframes alone (2 Hz), which is what perception trains on."
    ),
    image_scale: float = typer.Option(1.0, help="Of the images: 1 is 1600 x 900 as in nuScenes, 0.44 is 704 x 396."),
    jobs: int = typer.Option(1, help="Processes; the files do not depend on it."),
    resume: bool = typer.Option(
        False, "--resume", help="Take up an interrupted run, and nothing else; without it both are done."
    ),
) -> None:
    """Write a synthetic nuScenes that NuScenes("v1.0-synth", OUT) loads."""
    from genie.data.synth.config import SynthConfig

    config = SynthConfig(scenes, seconds, seed, stream, lidar, cameras, image_scale, camera_sweeps)
    write_synth(out, config, jobs, resume=resume)
    typer.echo(f"{scenes} scenes of {seconds:g} s in {out}")


def write_synth(out: Path, config: SynthConfig, jobs: int, *, resume: bool = False) -> None:
    """Generates, with a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from genie.data.synth.generate import generate

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("scenes", total=config.scenes)
        generate(
            out,
            config,
            jobs=jobs,
            resume=resume,
            progress=lambda name: bar.update(task, advance=1, description=name),
        )


@app.command()
def info(dataroot: Path = typer.Argument(..., help="A nuScenes data root, real or synthetic.")) -> None:
    """Print what is there: scenes, keyframes, labels, streams, windows per protocol, classes."""
    from rich import box
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from genie.data.info import inspect
    from perception.types import CLASS_NAMES, FREE

    bar = Console(stderr=True)
    found = inspect(dataroot, track=lambda names: track(names, "reading", console=bar, transient=True))
    console = Console()
    scenes = Table("scene", "keyframes", "labels", "missing", "10 Hz frames", box=box.SIMPLE_HEAD)
    for s in found.scenes:
        cells = (s.keyframes, s.labels, s.keyframes - s.labels, s.stream_frames or "-")
        scenes.add_row(s.name, *map(str, cells))
    keyframes, labels = sum(s.keyframes for s in found.scenes), sum(s.labels for s in found.scenes)
    frames = sum(s.stream_frames for s in found.scenes)
    scenes.add_section()
    scenes.add_row(
        f"{len(found.scenes)} scenes", str(keyframes), str(labels), str(keyframes - labels), str(frames or "-")
    )
    console.print(f"{dataroot} ({found.version})", scenes, sep="\n")
    minis = [s.mini_frames for s in found.scenes if s.mini_frames]
    if minis:
        console.print(f"stream-mini, boxes and road alone: scenes {len(minis)}, 10 Hz frames {sum(minis)}\n")
    windows = Table("protocol", "windows", box=box.SIMPLE_HEAD)
    for protocol, count in found.windows.items():
        windows.add_row(protocol, str(count))
    console.print(windows)
    classes = Table("class", "voxels", "% of occupied", box=box.SIMPLE_HEAD)
    occupied = max(int(found.histogram[:FREE].sum()), 1)
    for index, name in enumerate(CLASS_NAMES):
        count = int(found.histogram[index])
        classes.add_row(name, f"{count:,}", "" if index == FREE else f"{100 * count / occupied:.2f}")
    console.print(classes)
