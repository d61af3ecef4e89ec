"""`geniedrive train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from genie.cli import perception
from genie.cli.default_group import DefaultGroup


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    group = typer.Typer(cls=DefaultGroup, rich_markup_mode=None)
    group.command("world", epilog="`geniedrive train perception --help`: the other network.")(train)
    group.command("perception")(perception.train)
    app.add_typer(group, name="train", help="Train the world model; `train perception`: the perception network.")


def train(
    dataroot: Annotated[Path, typer.Option(help="A nuScenes data root, real or synthetic.")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    config: Annotated[str, typer.Option(help="A preset (tiny, edge) or a YAML file.")] = "edge",
    override: Annotated[Optional[list[str]], typer.Option("--set", help="key.sub=value; repeatable.")] = None,  # noqa: UP045
    source: Annotated[str, typer.Option(help="stream, stream-mini (10 Hz) or occ3d (2 Hz keyframes).")] = "stream",
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    init: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Begin a new run with these weights: edge, a checkpoint or a run folder of the same preset."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train the world model. Ctrl-C saves and exits with 0; --resume goes on."""
    from calib.errors import InputError
    from genie.config import load_config
    from genie.data.scenes import SOURCES
    from genie.training.loop import train as run_training

    if source not in SOURCES:
        raise InputError(f"source {source!r}", expected=", ".join(SOURCES), fix="choose one of them")
    resolved = load_config(config, override)
    finished = run_training(resolved, dataroot, out, source=source, seed=seed, resume=resume, init=init)
    if finished:
        typer.echo(f"trained: {out / 'model.safetensors'}")
