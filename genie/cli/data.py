"""`geniedrive data ...`: what a data root holds, and the synthetic nuScenes."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(help="Inspect nuScenes data and make synthetic data.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def synth(
    out: Path = typer.Argument(..., help="Folder for the data root: new, empty, or an interrupted run of the same."),
    *,
    scenes: int = typer.Option(10, help="How many scenes."),
    seconds: float = typer.Option(20.0, help="Length of each scene (s)."),
    seed: int = typer.Option(0, help="Equal seeds give equal bytes."),
    stream: bool = typer.Option(True, help="Also write 10 Hz labels."),
    jobs: int = typer.Option(1, help="Processes; the files do not depend on it."),
) -> None:
    """Write a synthetic nuScenes that NuScenes("v1.0-synth", OUT) loads."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from genie.data.synth.config import SynthConfig
    from genie.data.synth.generate import generate

    config = SynthConfig(scenes=scenes, seconds=seconds, seed=seed, stream=stream)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("scenes", total=scenes)
        generate(out, config, jobs=jobs, progress=lambda name: bar.update(task, advance=1, description=name))
    typer.echo(f"{scenes} scenes of {seconds:g} s in {out}")
