"""Scores of perception in percent: as JSON, and as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perception.evaluate import Row
from perception.metrics import Score, class_iou, mean_iou, occupied_iou
from perception.ray_iou import THRESHOLDS_M, ray_iou
from perception.types import CLASS_NAMES, FREE

if TYPE_CHECKING:
    from rich.table import Table


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Null where the data cannot tell, or where rays were not cast. mIoU over the classes that are there."""
    return [_row(row) for row in rows]


def _row(row: Row) -> dict[str, Any]:
    rays = None if row.rays is None else ray_iou(row.rays)
    return {
        "name": row.name,
        "masks": {
            mask: {
                "miou": mean_iou(table).percent,
                "iou": occupied_iou(table).percent,
                "iou_per_class": {CLASS_NAMES[i]: class_iou(table)[i].percent for i in range(FREE)},
            }
            for mask, table in row.tables.items()
        },
        "ray_iou": None if rays is None else rays.mean.percent,
        "ray_iou_at": None
        if rays is None
        else {f"{t:g} m": score.percent for t, score in zip(THRESHOLDS_M, rays.at, strict=True)},
    }


def score_table(rows: Sequence[Row], title: str) -> Table:
    """With the camera mask as Occ3D scores it, with the lidar's, and without."""
    from rich import box
    from rich.table import Table

    columns = ("", "mIoU, camera mask", "IoU", "mIoU, lidar mask", "IoU", "mIoU, no mask", "IoU", "RayIoU", "1/2/4 m")
    table = Table(*columns, box=box.SIMPLE_HEAD, title=title)
    for row in rows:
        cells = []
        for mask in ("camera", "lidar", "none"):
            cells += [_cell(mean_iou(row.tables[mask])), _cell(occupied_iou(row.tables[mask]))]
        rays = None if row.rays is None else ray_iou(row.rays)
        cells += ["", ""] if rays is None else [_cell(rays.mean), "/".join(map(_cell, rays.at))]
        table.add_row(row.name, *cells)
    return table


def _cell(score: Score) -> str:
    return "-" if score.percent is None else f"{score.percent:.1f}"
