"""`geniedrive bundle` and `geniedrive flash`: from an export to a car."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from deploy.orin.archive import Index


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(bundle)
    app.command()(flash)


def bundle(
    export: Annotated[Path, typer.Argument(help="Folder that `geniedrive export` wrote.")],
    *,
    out: Annotated[Path, typer.Option(help="File to write, e.g. car.tar.")],
    dataroot: Annotated[
        Path | None, typer.Option(help="Data with 10 Hz streams for the golden ticks; a synthetic stream without it.")
    ] = None,
    scene: Annotated[str | None, typer.Option(help="Scene name, e.g. scene-0061.")] = None,
    ticks: Annotated[int, typer.Option(min=2, max=99, help="Golden ticks.")] = 12,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch and of ONNX Runtime.")] = 2,
) -> None:
    """Packs an export for the car: graphs, golden ticks by PyTorch, the code that runs there, a hash of each file."""
    import torch

    from deploy.bundle import write_bundle
    from deploy.bundle_files import verify_bundle
    from deploy.orin.archive import sha256_file
    from deploy.parity_stream import given_ticks, parity_stream
    from deploy.torch_runtime import TorchRuntime, bundled_model

    torch.set_num_threads(threads)
    manifest = verify_bundle(export)
    reference = TorchRuntime(bundled_model(export, manifest), manifest.form)
    stream = parity_stream(dataroot, scene, ticks)
    index = write_bundle(export, out, reference, given_ticks(stream, ticks), ticks, threads=threads)
    typer.echo(f"{out}: model {index.model}, version {index.version}, {len(index.files)} files, {index.size} bytes")
    typer.echo(f"sha256 {sha256_file(out)}")


def flash(
    host: Annotated[str, typer.Argument(metavar="USER@HOST", help="The target, as ssh takes it.")],
    *,
    bundle: Annotated[Path | None, typer.Option(help="File that `geniedrive bundle` wrote.")] = None,
    sha256: Annotated[
        str | None, typer.Option(help="What the file's must be, as told by whom it comes from; see docs/deployment.md.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of ssh.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Key file for ssh.")] = None,
    ssh_config: Annotated[Path | None, typer.Option(help="Configuration file for ssh (-F).")] = None,
    python: Annotated[
        str, typer.Option(help="Interpreter on the target that has the packages of the car.")
    ] = "python3",
    prefix: Annotated[str, typer.Option(help="Folder on the target.")] = "/opt/geniedrive",
    backend: Annotated[
        Literal["trt", "ort"], typer.Option(help="TensorRT engines, built on the target, or ONNX Runtime.")
    ] = "trt",
    ros_setup: Annotated[
        str,
        typer.Option(help="setup.bash of the target's ROS 2; auto: the one under /opt/ros; none: build no workspace."),
    ] = "auto",
    restart_command: Annotated[
        str, typer.Option(help="Restarts what serves `current`, where systemd does not run the target.")
    ] = "",
    latency_ms: Annotated[
        float, typer.Option(help="Gate: p99 of a golden tick on the target, after the first.")
    ] = 100.0,
    rounds: Annotated[int, typer.Option(min=1, help="Times that the golden ticks are timed.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Of ONNX Runtime in the golden check.")] = 2,
    health_timeout: Annotated[float, typer.Option(min=0.5, help="Seconds for the service to be well.")] = 60.0,
    keep: Annotated[int, typer.Option(min=2, help="Releases that stay on the target.")] = 3,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Checks the file and looks at the target; no more.")
    ] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Goes back to the release before; no bundle.")] = False,
) -> None:
    """Installs a bundle on a Jetson: copies, builds and checks it beside the running release, then switches over.

    Exit 1 where a step failed: the release that ran before runs on, or runs again."""
    from calib.errors import InputError
    from deploy.flash import Target, look, roll_back
    from deploy.flash import flash as flash_to
    from deploy.orin.settings import STEPS, Settings

    if (bundle is None) != rollback:
        raise InputError(
            "both --bundle and --rollback" if rollback else "no --bundle",
            expected="--bundle FILE, or --rollback",
            fix="say what is to run there",
        )
    index, digest, size = _read(bundle, sha256) if bundle else (None, "", 0)
    settings = Settings(
        prefix=prefix,
        backend=backend,
        release=index.release(backend) if index else "",
        sha256=digest,
        size=size,
        ros_setup=ros_setup,
        command=restart_command,
        latency_ms=latency_ms,
        rounds=rounds,
        threads=threads,
        health_timeout_s=health_timeout,
        keep=keep,
    )
    target = Target(host, port, identity, python, ssh_config)
    if dry_run:
        look(target, settings, _tell)
        typer.echo(f"dry run: nothing was changed; left out: {', '.join(STEPS[1:]) if index else 'going back'}")
    elif bundle:
        flash_to(target, bundle, settings, _tell)
    else:
        roll_back(target, settings, _tell)


def _read(bundle: Path, sha256: str | None) -> tuple[Index, str, int]:
    """Index, sha256 and size of the file, all of it verified."""
    from calib.errors import InputError
    from deploy.orin.archive import sha256_file, verify_archive

    if not bundle.is_file():
        raise InputError("no such file", expected="what `geniedrive bundle` wrote", fix="check --bundle", path=bundle)
    digest = sha256_file(bundle)
    if sha256 is not None and digest != sha256.lower():
        raise InputError(
            f"sha256 {digest}", expected=sha256, fix="do not flash it; ask where it comes from", path=bundle
        )
    index = verify_archive(bundle)
    typer.echo(f"{bundle}: model {index.model}, version {index.version}, sha256 {digest}")
    return index, digest, bundle.stat().st_size


def _tell(step: str, told: str) -> None:
    lines = told.splitlines() or [""]
    typer.echo("\n".join([f"{step:10} ok  {lines[0]}", *(f"{'':14}{line}" for line in lines[1:])]))
