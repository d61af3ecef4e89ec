"""`geniedrive data occupancy`: Occ3D-like labels for a nuScenes that has none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from genie.data.occupancy.compare import Agreement
    from genie.data.occupancy.run import SceneReport


def occupancy(
    dataroot: Path = typer.Argument(..., help="A nuScenes data root with lidar files."),
    *,
    version: str = typer.Option(None, help="The v1.0-* folder, where there are several."),
    scenes: str = typer.Option(None, help="Names with commas in between; all where absent."),
    out: Path = typer.Option(None, help="Folder for SCENE/TOKEN/labels.npz; DATAROOT/gts where absent."),
    jobs: int = typer.Option(1, help="Processes, a scene each; the files do not depend on it."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace labels that are there; else they are kept."),
    level: bool = typer.Option(False, "--level", help="Label the ego frame without its pitch and roll."),
    truth: Path = typer.Option(None, help="Folder of right labels (SCENE/TOKEN/labels.npz) to be compared with."),
) -> None:
    """Build labels from lidar sweeps, boxes and lidarseg. An interrupted run goes on where it stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from genie.data.occupancy.compare import compare
    from genie.data.occupancy.config import OccupancyConfig
    from genie.data.occupancy.run import build_labels

    wanted = [name.strip() for name in scenes.split(",") if name.strip()] if scenes else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading the tables", total=None)
        reports = build_labels(
            dataroot,
            out,
            version=version,
            scenes=wanted,
            config=OccupancyConfig(level=level),
            jobs=jobs,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, advance=1, total=total, description=done.scene),
        )
    _print_reports(Console(), reports)
    if truth is not None:
        folder = out if out is not None else dataroot / "gts"
        _print_agreement(Console(), compare(folder, truth, [r.scene for r in reports]))


def _print_reports(console, reports: list[SceneReport]) -> None:
    from rich import box
    from rich.table import Table

    table = Table("scene", "written", "kept", "without lidar file", "sweeps", "sweeps missing", box=box.SIMPLE_HEAD)
    for report in reports:
        table.add_row(report.scene, *map(str, report[1:]))
    totals = [sum(column) for column in zip(*(r[1:] for r in reports), strict=True)]
    if len(reports) > 1:
        table.add_section()
        table.add_row(f"{len(reports)} scenes", *map(str, totals))
    console.print(table)
    if totals[4]:
        console.print(
            f"{totals[4]} of {totals[3] + totals[4]} sweeps have no file: what only they saw is not labelled."
        )
    if totals[1]:
        console.print(f"{totals[1]} keyframes had labels and were left as they are; --overwrite replaces them.")


def _print_agreement(console, agreement: Agreement) -> None:
    from rich import box
    from rich.table import Table

    from genie.data.occupancy.compare import REGIONS
    from perception.metrics import class_iou, mean_iou, occupied_iou
    from perception.types import CLASS_NAMES

    def cell(score) -> str:
        return f"{score.percent:.1f}" if score.valid else "-"

    tables = [getattr(agreement, region) for region in REGIONS]
    table = Table(f"% over {agreement.frames} keyframes", *(f"in {region}" for region in REGIONS), box=box.SIMPLE_HEAD)
    table.add_row("IoU, occupied", *(cell(occupied_iou(t)) for t in tables))
    table.add_row("mIoU, classes present", *(cell(mean_iou(t)) for t in tables))
    table.add_section()
    per_class = [class_iou(t) for t in tables]
    for index, name in enumerate(CLASS_NAMES[:-1]):
        table.add_row(name, *(cell(scores[index]) for scores in per_class))
    console.print(table)
