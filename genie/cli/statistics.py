"""`geniedrive data statistics`: what a data set is like in numbers, beside another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from genie.data.scenes import Scene
    from genie.data.synth.statistics import Row

BASELINES = ("ego-warp", "tracker", "constant-velocity")


def statistics(
    dataroot: Path = typer.Argument(..., help="A data root with 10 Hz streams and tables, synthetic say."),
    *,
    beside: Path = typer.Option(None, help="Another one to compare with: real nuScenes with derived streams."),
    out: Path = typer.Option(None, help="Write the table there as Markdown; it is printed where absent."),
    baselines: bool = typer.Option(True, help="Also forecast with ego-warp, tracker and constant velocity."),
) -> None:
    """Speeds, counts, sizes, change per 0.1 s and baseline scores, all on labels of boxes and road alone."""
    from calib.files import atomic_path
    from genie.data.synth.statistics import markdown, page, within

    rows = _rows(dataroot, baselines)
    if beside is None:
        text = "".join(f"{row.group}: {row.name}: {row.value:.2f}\n" for row in rows)
    else:
        reference = _rows(beside, baselines)
        verdicts = [within(one, other) for one, other in zip(reference, rows, strict=True)]
        real, synthetic = (len(_names(root)[1]) for root in (beside, dataroot))
        text = page(markdown(reference, rows), verdicts, real, synthetic, _made(dataroot))
    if out is None:
        typer.echo(text, nl=False)
        return
    with atomic_path(out) as temporary:
        temporary.write_text(text)
    typer.echo(f"{len(rows)} rows in {out}")


def _names(dataroot: Path) -> tuple[str, list[str]]:
    """The source with boxes and road alone, and its scenes: real streams have nothing else."""
    from genie.data.scenes import list_scenes
    from genie.data.stream import list_stream_scenes

    source = "stream-mini" if list_stream_scenes(dataroot, "stream-mini") else "stream"
    return source, list_scenes(dataroot, source)


def _made(dataroot: Path) -> str:
    """The command that wrote a synthetic data root, as far as these numbers depend on it."""
    import json

    from genie.data.synth.generate import MANIFEST

    path = dataroot / MANIFEST
    if not path.is_file():
        return "# SYNTH was not written by geniedrive data synth"
    config = json.loads(path.read_text())
    return "geniedrive data synth SYNTH " + " ".join(f"--{k} {config[k]:g}" for k in ("scenes", "seconds", "seed"))


def _scenes(dataroot: Path) -> Iterator[Scene]:
    from genie.data.scenes import load_scenes

    source, names = _names(dataroot)
    return load_scenes(dataroot, source, names, "mini")


def _rows(dataroot: Path, baselines: bool) -> list[Row]:
    from rich.console import Console

    from genie.data.synth.statistics import Row, gather, rows_of
    from genie.evaluation.registry import make_forecaster
    from genie.evaluation.report import SHOWN_S, to_json
    from genie.evaluation.rollout import evaluate

    with Console(stderr=True).status(f"counting in {dataroot}") as status:
        rows = rows_of(gather(_scenes(dataroot)))
        for name in BASELINES if baselines else ():
            status.update(f"{name} on {dataroot}")
            scores = to_json(evaluate(make_forecaster(name), _scenes(dataroot), "stream"))["horizons"]
            for metric, label in (("miou", "mIoU"), ("iou", "IoU")):
                for h in SHOWN_S:
                    rows.append(Row(f"{name} (%)", f"{label} at {h:g} s", scores[f"{h:.1f}"][metric]))
    return rows
