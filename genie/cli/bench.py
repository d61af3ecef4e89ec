"""`geniedrive bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.bench import BundleTimes


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command()(bench)


def bench(
    *,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that `geniedrive export` wrote; more than one take turns. Default: untrained presets."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for tick.md and tick.json.")] = Path("docs/benchmarks"),
    ticks: Annotated[int, typer.Option(min=3, help="Frames; the first two are told apart.")] = 60,
    threads: Annotated[int, typer.Option(min=1, help="Of each network.")] = 2,
) -> None:
    """Times the pipeline on ONNX Runtime over a synthetic stream, stage by stage."""
    import shlex
    import sys
    import tempfile
    from datetime import datetime, timezone

    from rich.progress import Progress

    from deploy.bench import export_presets, measure
    from deploy.bench_report import Run, this_machine, write_report
    from deploy.bundle_files import verify_bundle
    from deploy.parity_stream import parity_stream

    machine = this_machine()  # before our own work shows in its load
    for folder in bundle or []:
        verify_bundle(folder)
    with tempfile.TemporaryDirectory() as folder_of_presets:
        bundles = bundle or export_presets(Path(folder_of_presets))
        stream = parity_stream(None, None, ticks)
        with Progress(transient=True) as bar:
            task = bar.add_task("timing", total=ticks)
            times = measure(bundles, stream, ticks, threads=threads, on_tick=lambda: bar.advance(task))
    run = Run(
        machine=machine,
        command=shlex.join(["geniedrive", *sys.argv[1:]]),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        stream=stream.name,
        ticks=ticks,
        threads=threads,
        untrained=not bundle,
    )
    write_report(out, run, times)
    _print(times)
    typer.echo(f"{out / 'tick.md'} and {out / 'tick.json'} written; GPU, TensorRT and Orin: not measured")


def _print(times: list[BundleTimes]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "bundle", "stage", title="ms; the first two ticks apart")
    for column in ("1st tick", "2nd tick", "median", "p95", "max"):
        table.add_column(column, justify="right")
    for b in times:
        for stage, spread in b.later_ms.items():
            cells = (*b.first_ms[stage], spread.median, spread.p95, spread.max)
            table.add_row(b.name, b.bundle_id, stage, *(f"{ms:.1f}" for ms in cells))
    console = Console()
    console.print(table)
    for b in times:
        console.print(
            f"{b.name} {b.bundle_id}: {b.rollouts_per_s:.1f} full rollouts/s (six steps each), "
            f"{b.predicted_frames_per_s:.1f} predicted frames/s as peers count"
        )
