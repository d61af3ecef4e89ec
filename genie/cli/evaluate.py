"""`geniedrive eval`: forecasts against what happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from genie.cli import perception, sensors
from genie.cli.default_group import DefaultGroup
from genie.cli.names import split_names

if TYPE_CHECKING:
    from genie.data.scenes import Scene
    from genie.evaluation.extras import Extras
    from genie.evaluation.rollout import Ego, Evaluation
    from genie.forecaster import Forecaster
    from perception.metrics import Convention


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    group = typer.Typer(cls=DefaultGroup, rich_markup_mode=None)
    group.command("forecast", epilog="`geniedrive eval perception --help`: of what is perceived.")(evaluate)
    group.command("perception")(perception.evaluate)
    group.command("sensors")(sensors.evaluate)
    app.add_typer(group, name="eval", help="Score forecasts, what is perceived (`perception`), and both (`sensors`).")


def evaluate(
    *,
    dataroot: Annotated[Path, typer.Option(help="A nuScenes data root, real or synthetic.")],
    model: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="A checkpoint, run or export folder; copy, ego-warp, tracker, constant-velocity; repeatable."
        ),
    ] = None,
    bag: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            help="A rosbag2 with the forecasts of a node (`replay --record`), for --ego predicted; repeatable."
        ),
    ] = None,
    source: Annotated[
        Literal["stream", "stream-mini", "occ3d"],
        typer.Option(help="10 Hz streams (stream-mini: boxes and road alone), or Occ3D labels at 2 Hz."),
    ] = "stream",
    protocol: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="stream, stream+5, stream-2hz; occworld (default of keyframes), i2world, geniedrive, dome."),
    ] = None,
    ego: Annotated[
        Literal["given", "commanded", "predicted"],
        typer.Option(help="True future ego poses; or the forecaster's own: told left, straight or right, or nothing."),
    ] = "given",
    scenes: Annotated[Optional[str], typer.Option(help="Comma-separated; default: all.")] = None,  # noqa: UP045
    style: Annotated[
        Literal["as-is", "mini"], typer.Option(help="mini: keep boxes and road alone, as nuscenes-mini shows.")
    ] = "as-is",
    convention: Annotated[
        Literal["present", "occworld", "i2world"], typer.Option(help="What a class without ground truth counts as.")
    ] = "present",
    form: Annotated[
        Literal["gated", "dense"], typer.Option(help="Of a checkpoint: as on the car, or the twin that computes all.")
    ] = "gated",
    ablate: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Leave parts of a checkpoint out: motion, correction, invention, fill, evidence."),
    ] = None,
    max_columns: Annotated[
        int, typer.Option(min=0, help="That a tick of an export may compute, as the node's parameter; 0: no bound.")
    ] = 0,
    reliability: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Draw there (PNG) how often what was said to be sure was right; needs a model that says so."),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Write the scores there: one object, or a list with several --model."),
    ] = None,
) -> None:
    """Forecast every window of the scenes and score it."""
    from rich.console import Console

    from genie.data.scenes import choose_scenes, load_scenes
    from genie.evaluation.report import score_table

    protocol = _protocol(protocol, source)
    names = choose_scenes(dataroot, source, split_names(scenes) or None)
    forecasters = _forecasters(model or [], bag or [], tuple(split_names(ablate)), form, max_columns)
    results, extras = [], []
    for forecaster in forecasters:
        read = load_scenes(dataroot, source, names, style)
        result, extra = _score(forecaster, read, len(names), protocol, ego, convention)
        results.append(replace(result, source=source))
        extras.append(extra)
    title = f"{dataroot.name}, {protocol} ({results[0].windows} windows), ego {ego}, mIoU {convention}, %"
    Console().print(score_table(results, title))
    for result, extra, forecaster in zip(results, extras, forecasters, strict=True):
        for line in [*extra.lines(), *_columns_of(forecaster)]:
            typer.echo(f"{result.model}: {line}")
    if reliability is not None:
        _draw_reliability(reliability, {r.model: e for r, e in zip(results, extras, strict=True)})
    if json_file is not None:
        _write_scores(json_file, results, extras)


def _forecasters(
    models: list[str], bags: list[Path], parts: tuple[str, ...], form: str, max_columns: int
) -> list[Forecaster]:
    """Raises InputError if there is none."""
    from calib.errors import InputError

    found = [_forecaster(spec, parts, form, max_columns) for spec in models] + [_recorded(path) for path in bags]
    if not found:
        raise InputError("nothing to evaluate", expected="--model or --bag", fix="give one")
    return found


def _score(
    forecaster: Forecaster, scenes: Iterable[Scene], count: int, protocol: str, ego: Ego, convention: Convention
) -> tuple[Evaluation, Extras]:
    from rich.console import Console
    from rich.progress import track

    from genie.evaluation import rollout
    from genie.evaluation.extras import Extras

    # The bar goes to stderr: stdout is the table alone.
    bar = track(scenes, forecaster.name, total=count, console=Console(stderr=True), transient=True)
    extra = Extras(planning=ego != "given")
    return rollout.evaluate(forecaster, bar, protocol, ego=ego, convention=convention, on_window=extra.add), extra


def _write_scores(path: Path, results: list[Evaluation], extras: list[Extras]) -> None:
    from calib.files import write_json
    from genie.evaluation.report import to_json

    values = [to_json(result) | extra.as_tree() for result, extra in zip(results, extras, strict=True)]
    write_json(path, values[0] if len(values) == 1 else values)


def _recorded(path: Path) -> Forecaster:
    from genie.evaluation.recorded import RecordedForecaster

    return RecordedForecaster(path)


def _columns_of(forecaster: Forecaster) -> list[str]:
    """What the gate of a bundle took a tick, how late a recorded forecast was; nothing of any other forecaster."""
    from deploy.forecaster import BundleForecaster
    from genie.evaluation.recorded import RecordedForecaster

    if isinstance(forecaster, RecordedForecaster):
        return [forecaster.latency_line()]
    if not isinstance(forecaster, BundleForecaster) or not forecaster.needed:
        return []
    ticks = len(forecaster.needed)
    needed, computed = (sum(columns) / ticks for columns in (forecaster.needed, forecaster.computed))
    return [f"columns a tick: {needed:.2f} had to be computed, {computed:.2f} were ({ticks} ticks)"]


def _draw_reliability(path: Path, extras: dict[str, Extras]) -> None:
    from calib.errors import InputError
    from genie.evaluation.reliability import draw_reliability

    told = {name: c for name, extra in extras.items() if (c := extra.calibration()) is not None}
    if not told:
        raise InputError("none of these tells a confidence", expected="a checkpoint or an export", fix="name one")
    draw_reliability(path, told)


def _protocol(name: str | None, source: str) -> str:
    """The protocol by name, or the source's usual one; it must count frames of this source."""
    from calib.errors import InputError
    from genie.data.stream import is_stream
    from genie.data.windows import STREAMS, protocol_names

    if name is None:
        return "stream" if is_stream(source) else "occworld"
    fitting = [known for known in protocol_names() if (known in STREAMS) == is_stream(source)]
    if name not in fitting:
        raise InputError(
            f"protocol {name!r} with --source {source}",
            expected=f"one of {', '.join(fitting)}",
            fix="choose a protocol of this source, or another --source",
        )
    return name


def _forecaster(spec: str, parts: tuple[str, ...], form: str, max_columns: int) -> Forecaster:
    """A baseline, a checkpoint or an export folder."""
    if not (Path(spec) / "manifest.json").is_file():
        if max_columns:
            from calib.errors import InputError

            raise InputError(
                "--max-columns of what is no export", expected="a folder that `export` wrote", fix="export it"
            )
        from genie.evaluation.registry import make_forecaster

        return make_forecaster(spec, parts, form)
    if parts:
        from calib.errors import InputError

        raise InputError(
            "parts of an exported graph cannot be zeroed",
            expected="a checkpoint with --ablate",
            fix="give the run folder the export was made from",
            path=spec,
        )
    from deploy.forecaster import BundleForecaster

    return BundleForecaster(Path(spec), most_columns=max_columns or None)
