"""`geniedrive demo`: everything once, from data to a ROS 2 topic, and a report of it. What `make demo` calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(demo)


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder for all that is made; the same one goes on where it stopped.")],
    dataroot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Your nuScenes, with labels; without it, synthetic scenes are made."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the synthetic scenes and of the training.")] = 0,
    scenes: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, help="How many synthetic scenes, or of your nuScenes at most; fewer: quicker, worse."),
    ] = None,
    seconds: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=5.0, help="Length of each synthetic scene."),
    ] = None,
    steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=20, help="Training steps; fewer make a quicker, worse model."),
    ] = None,
) -> None:
    """Make data, train, compare, export, run on a ROS 2 graph for 20 s, and write OUT/report.html."""
    # Before torch is imported. Threads that spin while they wait are 8 times slower beside one busy process (2 cores,
    # tiny: 0.2 against 1.7 training steps per second).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from genie.cli.demo_run import Demo, DemoConfig
    from genie.cli.demo_stages import Interrupted, stages_of
    from genie.cli.stage import Ledger, run_stages

    usual = DemoConfig()
    config = DemoConfig(
        scenes=scenes or usual.scenes, seconds=seconds or usual.seconds, steps=steps or usual.steps, seed=seed
    )
    run = Demo.open(out, dataroot, config)
    try:
        run_stages(stages_of(run), Ledger.open(out, run.identity()))
    except Interrupted:
        typer.echo("interrupted and saved: the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"report: {out / 'report.html'}")
