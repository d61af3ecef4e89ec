"""Scores of evaluations in percent: as JSON, and as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genie.evaluation.rollout import Evaluation, HorizonTables
from perception.metrics import ConfusionTable, Convention, class_iou, mean_iou, occupied_iou
from perception.types import CLASS_NAMES, FREE

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_S = (1.0, 2.0, 3.0)  # what papers print; their mean is over these three


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Scores in percent; null where the data cannot tell (a class without ground truth, no annotations)."""
    horizons = {f"{h:.1f}": _horizon_scores(tables, evaluation.convention) for h, tables in evaluation.tables.items()}
    return {
        "model": evaluation.model,
        "source": evaluation.source,
        "protocol": evaluation.protocol,
        "ego": evaluation.ego,
        "convention": evaluation.convention,
        "scenes": list(evaluation.scenes),
        "windows": evaluation.windows,
        "horizons": horizons,
        "mean": {name: _mean([horizons[f"{h:.1f}"][name] for h in SHOWN_S]) for name in ("miou", "iou")},
    }


def _horizon_scores(tables: HorizonTables, convention: Convention) -> dict[str, Any]:
    return {
        "miou": mean_iou(tables.everywhere, convention).percent,
        "iou": occupied_iou(tables.everywhere).percent,
        "miou_moving": _region_miou(tables.moving, convention),
        "iou_moving": _region_iou(tables.moving),
        "miou_static": _region_miou(tables.static, convention),
        "iou_static": _region_iou(tables.static),
        "iou_per_class": _per_class(tables.everywhere),
        "iou_moving_per_class": None if tables.moving is None else _per_class(tables.moving),
    }


def _per_class(table: ConfusionTable) -> dict[str, float | None]:
    scores = class_iou(table)
    return {CLASS_NAMES[i]: scores[i].percent for i in range(FREE)}


def _region_miou(table: ConfusionTable | None, convention: Convention) -> float | None:
    return None if table is None else mean_iou(table, convention).percent


def _region_iou(table: ConfusionTable | None) -> float | None:
    return None if table is None else occupied_iou(table).percent


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def score_table(evaluations: Sequence[Evaluation], title: str | None = None) -> Table:
    """One row per evaluation: mIoU, IoU, and the mIoU of the moving region, at 1 / 2 / 3 s."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("forecast", no_wrap=True)
    for column in ("mIoU 1/2/3 s", "IoU 1/2/3 s", "moving mIoU"):
        table.add_column(column, justify="right", no_wrap=True)
    for evaluation in evaluations:
        table.add_row(*score_row(to_json(evaluation)))
    return table


def score_row(result: dict[str, Any]) -> list[str]:
    """The cells of one row of `score_table`, from the JSON of an evaluation."""

    def cells(name: str) -> str:
        return "/".join(_percent(result["horizons"][f"{h:.1f}"][name]) for h in SHOWN_S)

    return [result["model"], cells("miou"), cells("iou"), cells("miou_moving")]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
