"""`geniedrive bench` and `geniedrive roofline`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from deploy.bench import BundleTimes
    from deploy.bench_report import Run
    from deploy.bench_results import Measured
    from deploy.bench_scaling import Report
    from deploy.bench_streams import Streams
    from genie.variants import Variant


T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(bench)
    app.command()(roofline)


def bench(
    bundle: Annotated[
        list[Path] | None,
        typer.Argument(help="Time these exports instead of the variants; more than one take turns."),
    ] = None,
    *,
    baseline: Annotated[
        Path | None, typer.Option(help="One more export, which the others are compared with, tick by tick.")
    ] = None,
    backend: Annotated[
        Literal["ort", "trt"], typer.Option(help="What runs them: ONNX Runtime, or TensorRT (see `build`).")
    ] = "ort",
    out: Annotated[Path, typer.Option(help="Folder for tick.md, tick.json and the plots.")] = Path("docs/benchmarks"),
    dataroot: Annotated[
        Path | None, typer.Option(help="Folder with stream/; without it, a synthetic town is driven through.")
    ] = None,
    scene: Annotated[str | None, typer.Option(help="Of --dataroot, S[,S...]; all where none is named.")] = None,
    label: Annotated[str | None, typer.Option(help="What the report calls the stream.")] = None,
    ticks: Annotated[int, typer.Option(min=3, help="Frames that all take turns over, of all scenes together.")] = 64,
    rounds: Annotated[int, typer.Option(min=2, help="Runs of each graph that is timed alone.")] = 15,
    threads: Annotated[int, typer.Option(min=1, help="Of each network.")] = 2,
    variant: Annotated[
        list[str] | None, typer.Option(help="Of the untrained model; the dense twin and the default always run.")
    ] = None,
) -> None:
    """Times the tick of exports; or of the gated model, each technique alone and their dense twin, and how it grows."""
    from calib.errors import InputError
    from deploy.bench_hardware import read_hardware
    from deploy.bench_streams import SYNTHETIC_TICKS, bench_streams
    from deploy.bundle_files import verify_bundle
    from deploy.perception_spec import is_perception_export
    from genie.variants import variants_named

    measuring = _Measuring()  # before our own work shows in the machine's load
    if bundle and is_perception_export(bundle[0]):
        given = {"--baseline": baseline, "--backend": backend != "ort", "--scene": scene, "--variant": variant}
        if others := [name for name, value in given.items() if value]:
            raise InputError(
                f"{', '.join(others)} with a perception",
                expected="exports of perception, --dataroot and --ticks",
                fix="leave it out: several exports take turns",
            )
        return _bench_perception(measuring, bundle, dataroot, label, out, ticks, threads)
    variants = variants_named(variant or [])
    if not bundle and (baseline is not None or backend != "ort"):
        raise InputError(
            "--baseline or --backend without an export",
            expected="folders that `geniedrive export` wrote",
            fix="name them before the options",
        )
    bundles = [*(bundle or []), *([baseline] if baseline else [])]
    for folder in bundles:
        verify_bundle(folder)
    read_hardware(backend)  # says at once what the backend lacks here
    streams = bench_streams(dataroot, scene, ticks, label, least=0 if bundles else SYNTHETIC_TICKS)
    measured: list[BundleTimes] | Measured = measuring.of(
        lambda: _time(bundles, streams, threads, backend) if bundles else _compare(variants, streams, rounds, threads)
    )
    run = measuring.run(dataroot, streams.name, ticks, threads, backend)
    if isinstance(measured, list):
        _write_times(out, run, measured, measured[-1] if baseline else None)
    else:
        _write_comparison(out, run, measured)
    missing = f"; {', '.join(run.not_measured)}: not measured" if run.not_measured else ""
    typer.echo(f"{out / 'tick.md'} and {out / 'tick.json'} written{missing}")


def _bench_perception(
    measuring: _Measuring, exports: list[Path], dataroot: Path | None, label: str | None, out: Path, frames: int,
    threads: int,
) -> None:  # fmt: skip
    from deploy.bench_perception import measure_perception, write_perception_times

    def work() -> list[BundleTimes]:
        done = itertools.count(1)
        with _progress() as report:
            return measure_perception(
                exports, dataroot, frames, threads=threads, on_frame=lambda: report("timing", next(done), frames)
            )

    times = measuring.of(work)
    run = measuring.run(dataroot, label or f"`{dataroot.name if dataroot else ''}`", frames, threads, "ort")
    write_perception_times(out, run, times)
    _print(times)
    typer.echo(f"{out / 'perception-times.md'} and .json written; {', '.join(run.not_measured)}: not measured")


class _Measuring:
    """What a report says of how its figures came about."""

    def __init__(self) -> None:
        from deploy.bench_report import OthersAtWork, this_machine

        self._machine, self._others, self._began = this_machine(), OthersAtWork(), ""

    def of(self, work: Callable[[], T]) -> T:
        """What is measured. Ctrl-C ends it, and nothing is written."""
        from datetime import datetime, timezone

        self._began = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            return work()
        except KeyboardInterrupt:
            typer.echo("stopped; nothing was written", err=True)
            raise typer.Exit(130) from None

    def run(self, dataroot: Path | None, stream: str, ticks: int, threads: int, backend: str) -> Run:
        """Of what was measured until now."""
        import sys

        from deploy.bench_hardware import read_hardware
        from deploy.bench_report import Run

        took = self._others.cores(), self._others.seconds()
        command = _command(sys.argv[1:], dataroot)
        return Run(self._machine, command, self._began, stream, ticks, threads, *took, backend, read_hardware(backend))


def roofline(
    bundle: Annotated[list[Path], typer.Argument(help="Folders that `geniedrive export` wrote, in fp32.")],
    *,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/benchmarks/roofline.md"),
) -> None:
    """Computes the least time of a tick on Jetson AGX Orin in each power mode and precision. Measures nothing."""
    from deploy.bundle_files import verify_bundle
    from deploy.perception_spec import is_perception_export
    from deploy.roofline import write_roofline

    for folder in bundle:
        if not is_perception_export(folder):  # whose files are verified as it is read
            verify_bundle(folder)
    write_roofline(out, bundle, "geniedrive roofline " + " ".join(folder.name for folder in bundle))
    typer.echo(f"{out} written: computed, not measured")


def _command(arguments: list[str], dataroot: Path | None) -> str:
    """As it was typed; where the data lie is no part of it."""
    import shlex

    typed = shlex.join(["geniedrive", *arguments])
    return typed if dataroot is None else typed.replace(shlex.quote(str(dataroot)), "$DATAROOT")


def _time(bundles: list[Path], streams: Streams, threads: int, backend: str) -> list[BundleTimes]:
    from deploy.bench import measure

    total = sum(clip.ticks for clip in streams.short)
    with _progress() as report:
        done = itertools.count(1)
        return measure(
            bundles,
            streams.short,
            threads=threads,
            backend=backend,
            on_tick=lambda: report("timing", next(done), total),
        )


def _compare(variants: list[Variant], streams: Streams, rounds: int, threads: int) -> Measured:
    import torch

    from deploy.bench_compare import compare

    torch.set_num_threads(threads)
    with _progress() as report:
        return compare(streams, variants, rounds=rounds, threads=threads, report=report)


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar for each kind of work."""
    from rich.progress import Progress, TaskID

    with Progress(transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=of or None)

        yield report


def _write_times(out: Path, run: Run, times: list[BundleTimes], baseline: BundleTimes | None) -> None:
    from deploy.bench_report import write_report

    write_report(out, run, times, baseline)
    try:
        from deploy.bench_plots import times_figure, write_figure
    except ModuleNotFoundError:
        typer.echo("no picture: matplotlib is not installed here (the extra viz)")
    else:
        write_figure(times_figure(times), out / "times.png")
    _print(times)


def _write_comparison(out: Path, run: Run, measured: Measured) -> None:
    from rich.console import Console
    from rich.table import Table

    from deploy.bench_json import write_comparison
    from deploy.bench_plots import scaling_figure, variants_figure, write_figure
    from deploy.bench_results import targets
    from deploy.bench_tables import SCALING_PNG, VARIANTS_PNG

    write_figure(variants_figure(measured), out / VARIANTS_PNG)
    write_figure(scaling_figure(measured), out / SCALING_PNG)
    write_comparison(out, run, measured)
    _print([result.times for result in measured.variants])
    table = Table("target", "wanted", "measured", "")
    for target in targets(measured):
        table.add_row(target.what, target.wanted, target.found, "met" if target.met else "below")
    Console().print(table)


def _print(times: list[BundleTimes]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "bundle", "stage", title="ms; the first two ticks of each scene apart")
    for column in ("1st tick", "2nd tick", "median", "p95", "p99", "max"):
        table.add_column(column, justify="right")
    for b in times:
        for stage, spread in b.later_ms.items():
            cells = (*b.first_ms[stage], spread.median, spread.p95, spread.p99, spread.max)
            table.add_row(b.name, b.bundle_id, stage, *(f"{ms:.1f}" for ms in cells))
    console = Console()
    console.print(table)
    for b in (b for b in times if any(b.rows)):
        console.print(
            f"{b.name} {b.bundle_id}: {b.rollouts_per_s:.1f} full rollouts/s (six steps each), "
            f"{b.predicted_frames_per_s:.1f} predicted frames/s as peers count"
        )
