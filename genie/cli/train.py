"""`geniedrive train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("train")(train)


def train(
    dataroot: Annotated[Path, typer.Option(help="A nuScenes data root, real or synthetic.")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    config: Annotated[str, typer.Option(help="A preset (tiny, edge) or a YAML file.")] = "edge",
    override: Annotated[Optional[list[str]], typer.Option("--set", help="key.sub=value; repeatable.")] = None,  # noqa: UP045
    source: Annotated[str, typer.Option(help="stream, stream-mini (10 Hz) or occ3d (2 Hz keyframes).")] = "stream",
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train the world model. Ctrl-C saves and exits with 0; --resume goes on."""
    from calib.errors import InputError
    from genie.config import load_config
    from genie.data.scenes import SOURCES
    from genie.training.loop import train as run_training

    if source not in SOURCES:
        raise InputError(f"source {source!r}", expected=", ".join(SOURCES), fix="choose one of them")
    finished = run_training(load_config(config, override), dataroot, out, source=source, seed=seed, resume=resume)
    if finished:
        typer.echo(f"trained: {out / 'model.safetensors'}")
