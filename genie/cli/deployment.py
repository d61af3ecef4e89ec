"""`geniedrive export`, `geniedrive build`, `geniedrive parity` and `geniedrive aot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

if TYPE_CHECKING:
    from deploy.parity import Check, ParityReport


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(export)
    app.command()(build)
    app.command()(parity)
    app.command()(aot)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Run folder, a checkpoint in it, or edge: the shipped weights.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write: new, empty, or an older export.")],
    form: Annotated[
        str, typer.Option(help="gated, or dense: its twin that computes every column every tick.")
    ] = "gated",
    precision: Annotated[
        str, typer.Option(help="fp32, fp16, or int8 with --calibration.")
    ] = "fp32",
    calibration: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Data root with 10 Hz streams, whose frames show INT8 the ranges of activations."),
    ] = None,
    calibration_frames: Annotated[int, typer.Option(min=1, help="How many of its frames are chosen.")] = 64,
) -> None:
    """Writes the model as ONNX with its manifest: what the pipeline, the node and TensorRT read."""
    from deploy.export import export as write_export

    manifest = write_export(checkpoint, out, form, precision, calibration, calibration_frames).manifest
    told = f"bundle {manifest.bundle_id}, {form}, {precision}, opset {manifest.opset}"
    typer.echo(f"{out}: {told}, {manifest.nodes} nodes in {', '.join(manifest.graphs)}")


def build(
    bundle: Annotated[Path, typer.Argument(help="Folder that `geniedrive export` wrote.")],
    *,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Also engines that are right.")] = False,
    timings: Annotated[Path | None, typer.Option(help="Folder of timing caches that outlives the bundle.")] = None,
) -> None:
    """Builds the TensorRT engines of a bundle on the machine that will run them. Exit 1 if TensorRT refuses a graph."""
    from deploy.engine import build_here

    build_here(bundle, rebuild=rebuild, timings=timings)


def parity(
    bundle: Annotated[Path, typer.Argument(help="Folder that `geniedrive export` wrote.")],
    *,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Compare with this one instead of the bundle's own weights.")
    ] = None,
    dataroot: Annotated[
        Path | None, typer.Option(help="Data with 10 Hz streams; a synthetic stream without it.")
    ] = None,
    scene: Annotated[str | None, typer.Option(help="Scene name, e.g. scene-0061.")] = None,
    ticks: Annotated[int, typer.Option(min=1, help="Frames, with the state carried from each to the next.")] = 50,
    threads: Annotated[int, typer.Option(min=1, help="Of each of the two.")] = 2,
    backend: Annotated[
        Literal["ort", "trt"], typer.Option(help="What is compared: ONNX Runtime, or TensorRT (see `build`).")
    ] = "ort",
) -> None:
    """Compares the exported graph with PyTorch over a stream. Exit 1 past a limit of the manifest."""
    import torch
    from rich.progress import Progress

    from calib.errors import CheckFailed
    from deploy.parity import compare
    from deploy.parity_stream import parity_stream
    from deploy.runtime import open_runtime
    from deploy.torch_runtime import TorchRuntime, bundled_model
    from genie.training.checkpoint import load_model

    torch.set_num_threads(threads)
    candidate = open_runtime(bundle, backend, threads=threads)
    model = load_model(checkpoint)[0] if checkpoint else bundled_model(bundle, candidate.manifest)
    stream = parity_stream(dataroot, scene, ticks)
    with Progress(transient=True) as bar:
        task = bar.add_task("comparing", total=ticks)
        reference = TorchRuntime(model, candidate.manifest.form)
        report = compare(reference, candidate, stream, ticks, on_tick=lambda: bar.advance(task))
    checks = report.checks(candidate.manifest.limits)
    _print_parity(report, checks, stream.name, backend)
    failed = [f"{c.what} {c.found:.3g} > {c.limit:g}" for c in checks if not c.passed]
    if failed:
        raise CheckFailed("; ".join(failed))


def _print_parity(report: ParityReport, checks: list[Check], stream: str, backend: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from deploy.runtime import BACKENDS

    candidate = BACKENDS[backend]
    tensors = Table("tensor", "largest", "mean", title=f"{candidate} against PyTorch, {report.ticks} ticks of {stream}")
    for d in report.differences:
        tensors.add_row(d.name, f"{d.largest:.2e}", f"{d.mean:.2e}")
    verdicts = Table("check", "found", "limit", "")
    for c in checks:
        verdicts.add_row(c.what, f"{c.found:.3g}", f"{c.limit:g}", "ok" if c.passed else "FAILED")
    console = Console()
    console.print(tensors, verdicts)
    console.print(
        f"forecast mIoU {report.miou[0]:.2f} (PyTorch), {report.miou[1]:.2f} ({candidate}); "
        f"median tick {report.tick_ms[0]:.0f} and {report.tick_ms[1]:.0f} ms"
    )


def aot(
    bundle: Annotated[Path, typer.Argument(help="Folder that `geniedrive export` wrote.")],
) -> None:
    """Builds every graph in TensorRT-RTX for SM86 (Ampere), without a GPU. Exit 1 when one does not build."""
    from calib.errors import CheckFailed
    from deploy.aot import build_bundle

    failed = []
    for built in build_bundle(bundle):
        told = f"parsed in {built.parse_s:.1f} s, built in {built.build_s:.1f} s, {built.size / 1e6:.1f} MB"
        typer.echo(f"{built.graph}: {'FAILED: ' + '; '.join(built.errors) if built.errors else told}")
        failed += [built.graph] if built.errors else []
    if failed:
        raise CheckFailed(f"no engine of {', '.join(failed)}")
