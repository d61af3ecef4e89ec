"""`geniedrive ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from genie.cli.names import split_names

if TYPE_CHECKING:
    from genie.evaluation.rollout import Evaluation


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command()(ablate)


def ablate(
    *,
    model: Annotated[Path, typer.Option(help="edge, a checkpoint or a run folder.")],
    dataroot: Annotated[Path, typer.Option(help="A nuScenes data root, real or synthetic.")],
    out: Annotated[Path, typer.Option(help="Folder for ablation.md and ablation.json.")],
    source: Annotated[
        Literal["stream", "stream-mini"], typer.Option(help="10 Hz streams of the data root.")
    ] = "stream",
    scenes: Annotated[Optional[str], typer.Option(help="Comma-separated; default: all.")] = None,  # noqa: UP045
    ego: Annotated[
        Literal["given", "commanded", "predicted"],
        typer.Option(help="True future ego poses; or the model's own: told left, straight or right, or nothing."),
    ] = "given",
    rows: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Comma-separated; default: all. The dense twin and the default always run."),
    ] = None,
    bench: Annotated[
        Path | None, typer.Option(help="tick.json of `geniedrive bench`: times, work and bytes beside the accuracy.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rows in --out.")] = False,
) -> None:
    """One set of weights in every form, and with every part broken: what each technique gives, as one table."""
    from rich.console import Console
    from rich.progress import track

    from calib.errors import InputError
    from calib.files import write_text
    from genie.data.scenes import choose_scenes, load_scenes
    from genie.evaluation.ablation import ablate as run
    from genie.evaluation.ablation import ablations_named
    from genie.evaluation.ablation_report import ablation_markdown, read_benchmark
    from genie.evaluation.ablation_rows import AblationRows, ablation_of
    from genie.evaluation.report import score_row, to_json
    from genie.training.checkpoint import checkpoint_file, load_model

    chosen = ablations_named(split_names(rows))
    benchmark = None if bench is None else read_benchmark(bench)
    names = choose_scenes(dataroot, source, split_names(scenes) or None)
    loaded, config = load_model(model)
    if benchmark is not None and benchmark.config != config.name:
        raise InputError(
            f"a benchmark of {benchmark.config} beside a model of {config.name}",
            expected="one of the same preset: its times are of other graphs",
            fix="leave --bench out, or name a benchmark of this preset",
            path=bench,
        )
    kept = AblationRows(out, ablation_of(checkpoint_file(model), dataroot, source, names, ego), resume=resume)
    missing = [a for a in chosen if a.name not in kept.rows]
    titles, console = iter(a.title for a in missing), Console(stderr=True)

    def keep(name: str, result: Evaluation) -> None:
        kept.add(name, to_json(result))
        typer.echo("  ".join(score_row(kept.rows[name])))

    run(
        loaded.eval(),
        lambda: track(
            load_scenes(dataroot, source, names), next(titles), total=len(names), console=console, transient=True
        ),
        "stream",
        missing,
        on_row=keep,
        ego=ego,
    )
    told = {a.name: kept.rows[a.name] for a in chosen}
    windows = next(iter(told.values()))["windows"]
    heading = [f"`{model.name}` on {dataroot.name} ({source}, {len(names)} scenes, {windows} windows), {ego} ego, %."]
    write_text(out / "ablation.md", ablation_markdown(told, benchmark, heading))
    typer.echo(f"{out / 'ablation.md'} and {out / 'ablation.json'} written")
