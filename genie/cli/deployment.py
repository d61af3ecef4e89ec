"""`geniedrive export`, `geniedrive build`, `geniedrive parity` and `geniedrive aot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

if TYPE_CHECKING:
    from deploy.parity import Check, ParityReport
    from deploy.parity_free import FreeRun


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(export)
    app.command()(build)
    app.command()(parity)
    app.command()(aot)


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="Run folder, a checkpoint in it, or shipped weights: edge, perception.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write: new, empty, or an older export.")],
    form: Annotated[
        str, typer.Option(help="gated, or dense: its twin that computes every column every tick.")
    ] = "gated",
    precision: Annotated[str, typer.Option(help="fp32, fp16, or int8 with --calibration.")] = "fp32",
    calibration: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Data root that shows INT8 the ranges of activations: 10 Hz streams; for perception sensor files."
        ),
    ] = None,
    calibration_frames: Annotated[int, typer.Option(min=1, help="How many of its frames are chosen.")] = 64,
    noise: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="For perceived occupancy: what the gate is not to be surprised by; perception, or a file."),
    ] = None,
) -> None:
    """Writes the model as ONNX with its manifest: what the pipeline, the node and TensorRT read."""
    from calib.errors import InputError
    from deploy.export import export as write_export
    from deploy.noise import read_noise
    from deploy.perception_export import is_perception

    if is_perception(checkpoint):
        if form != "gated" or noise is not None:
            raise InputError(
                "--form or --noise with a perception", expected="neither: they are of a world model's gate",
                fix="leave them out",
            )  # fmt: skip
        return _export_perception(checkpoint, out, precision, calibration, calibration_frames)
    known = None if noise is None else read_noise(noise)
    manifest = write_export(checkpoint, out, form, precision, calibration, calibration_frames, known).manifest
    told = f"bundle {manifest.bundle_id}, {form}, {precision}, opset {manifest.opset}"
    typer.echo(f"{out}: {told}, {manifest.nodes} nodes in {', '.join(manifest.graphs)}")


def _export_perception(checkpoint: Path, out: Path, precision: str, calibration: Path | None, frames: int) -> None:
    from deploy.perception_export import export_perception

    manifest = export_perception(checkpoint, out, precision, calibration, frames)
    nodes = sum(manifest.graph.operators.values())
    typer.echo(f"{out}: bundle {manifest.bundle_id}, perceive, {precision}, opset {manifest.opset}, {nodes} nodes")


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
    against: Annotated[Literal["torch"], typer.Option(help="The model in PyTorch, always in fp32.")] = "torch",
    backend: Annotated[Literal["ort", "trt"], typer.Option(help="ONNX Runtime, or TensorRT (see `build`).")] = "ort",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Compare with this one instead of the bundle's own weights.")
    ] = None,
    dataroot: Annotated[
        Path | None, typer.Option(help="Data with 10 Hz streams; a synthetic stream without it.")
    ] = None,
    scene: Annotated[str | None, typer.Option(help="Scene name, e.g. scene-0061.")] = None,
    ticks: Annotated[int, typer.Option(min=1, help="Frames, with the state carried from each to the next.")] = 50,
    threads: Annotated[int, typer.Option(min=1, help="Of each of the two.")] = 2,
) -> None:
    """Compares an export of any precision with PyTorch in fp32 over a stream. Exit 1 past a limit of the manifest.

    Both see the same inputs, bit for bit: there is one preprocessing, deploy/pipeline.py, and its arrays go to both.
    """
    import torch
    from rich.progress import Progress

    from calib.errors import CheckFailed
    from deploy.parity import compare
    from deploy.parity_free import run_free
    from deploy.parity_stream import parity_stream
    from deploy.perception_spec import is_perception_export
    from deploy.runtime import BACKENDS, open_runtime
    from deploy.torch_runtime import TorchRuntime, bundled_model
    from genie.training.checkpoint import load_model

    torch.set_num_threads(threads)
    if is_perception_export(bundle):
        return _perception_parity(bundle, checkpoint, threads)
    candidate = open_runtime(bundle, backend, threads=threads)
    manifest = candidate.manifest
    model = load_model(checkpoint)[0] if checkpoint else bundled_model(bundle, manifest)
    stream = parity_stream(dataroot, scene, ticks)
    with Progress(transient=True) as bar:
        task = bar.add_task("comparing", total=2 * ticks)
        reference = TorchRuntime(model, manifest.form)
        report = compare(reference, candidate, stream, ticks, on_tick=lambda: bar.advance(task))
        free = run_free(reference, candidate, stream, ticks, on_tick=lambda: bar.advance(task))
    checks = [*report.checks(manifest.limits), *free.checks(manifest.limits)]
    compared = f"{BACKENDS[backend]} in {manifest.precision} against PyTorch in fp32"
    _print_parity(report, free, checks, f"{compared}, {ticks} ticks of {stream.name}")
    failed = [f"{c.what} {c.found:.3g} > {c.limit:g}" for c in checks if not c.passed]
    if failed:
        raise CheckFailed("; ".join(failed))


def _perception_parity(export: Path, checkpoint: Path | None, threads: int) -> None:
    from calib.errors import CheckFailed
    from deploy.perception_parity import checks, compare_perception

    found = checks(compare_perception(export, checkpoint, threads=threads), export)
    for check in found:
        typer.echo(f"{check.what}: {check.found:.3g} (limit {check.limit:g}) {'ok' if check.passed else 'FAILED'}")
    if failed := [check.what for check in found if not check.passed]:
        raise CheckFailed("; ".join(failed))


def _print_parity(report: ParityReport, free: FreeRun, checks: list[Check], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    tensors = Table("tensor", "largest", "mean", title=title)
    for d in report.differences:
        tensors.add_row(d.name, f"{d.largest:.2e}", f"{d.mean:.2e}")
    verdicts = Table("check", "found", "limit", "")
    for c in checks:
        verdicts.add_row(c.what, f"{c.found:.3g}", f"{c.limit:g}", "ok" if c.passed else "FAILED")
    console = Console()
    console.print(tensors, verdicts)
    ratio = f" ({free.needed[1] / free.needed[0]:.3f} times as many)" if free.needed[0] else ""
    console.print(
        f"each on its own: forecast mIoU {free.miou[0]:.2f} (PyTorch) and {free.miou[1]:.2f}; columns selected "
        f"{free.needed[0]} and {free.needed[1]}{ratio}; "
        f"median tick {report.tick_ms[0]:.0f} and {report.tick_ms[1]:.0f} ms"
    )


def aot(
    bundle: Annotated[Path, typer.Argument(help="Folder that `geniedrive export` wrote.")],
) -> None:
    """Builds every graph in TensorRT-RTX for SM86 (Ampere), without a GPU. Exit 1 when one does not build."""
    from calib.errors import CheckFailed
    from deploy.aot import build_ahead

    refused = []
    for built in build_ahead(bundle):
        told = built.refused or f"parsed and built in {built.seconds:.1f} s, {built.size / 1e6:.1f} MB"
        typer.echo(f"{built.graph}: {told}")
        refused += [built.graph] if built.refused else []
    if refused:
        raise CheckFailed(f"no engine of {', '.join(refused)}")
