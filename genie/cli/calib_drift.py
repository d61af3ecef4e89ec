"""`geniedrive calib drift`: the drift monitor on recorded driving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from calib.drift_trial import Detection


def drift(
    dataroots: Annotated[list[Path], typer.Argument(help="nuScenes data roots with lidar sweeps and images.")],
    *,
    inject_at: Annotated[float, typer.Option(help="Second of each scene at which a change is injected.")] = 30.0,
    window: Annotated[float, typer.Option(help="Seconds within which it has to be flagged.")] = 10.0,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Write the figures there."),
    ] = None,
) -> None:
    """False alarms in driving as it was, and seconds to the alarm after 0.5 deg or 5 cm. Exit 1 on a false alarm.

    Every second scene is judged by a reference of the others, and these by a reference of those.
    """
    from rich.console import Console
    from rich.progress import track

    from calib.drift import rate_bound_per_hour
    from calib.drift_trial import Half, judge, read_cameras, read_lidar
    from calib.errors import CheckFailed, InputError
    from calib.files import write_json
    from calib.tables import Tables

    scenes = [tables.scene(name) for tables in map(Tables, dataroots) for name in tables.scene_names]
    if len(scenes) < 2:
        raise InputError(f"{len(scenes)} scene", expected="at least 2: one half judges the other", fix="give more")
    halves: list[Half] = [Half([], []), Half([], [])]
    span = (inject_at, inject_at + window)
    for number, scene in enumerate(track(scenes, "reading", console=Console(stderr=True), transient=True)):
        name = f"{number:02d}/{scene.name}"  # two data roots can have scenes of one name
        halves[number % 2].cameras.extend(t._replace(scene=name) for t in read_cameras(scene, span))
        halves[number % 2].lidar.extend(t._replace(scene=name) for t in read_lidar(scene, span))
    judged = [judge(halves[0], halves[1]), judge(halves[1], halves[0])]
    seconds, alarms = sum(j.seconds for j in judged), [a for j in judged for a in j.alarms]
    bound = rate_bound_per_hour(len(alarms), seconds)
    typer.echo(f"driving: {seconds:.0f} s in {len(scenes)} scenes, {sum(j.readings for j in judged)} readings")
    for alarm in alarms:
        typer.echo(f"false alarm: {alarm.sensor} {alarm.change} at {alarm.stamp_us}")
    typer.echo(f"false alarms: {len(alarms)}; upper 95 % bound of their rate: {bound:.1f} per hour")
    rows = _rows([d for j in judged for d in j.detections])
    _print(rows, window)
    if json_file is not None:
        write_json(json_file, {"seconds": seconds, "alarms": len(alarms), "bound_per_hour": bound, "changes": rows})
    if alarms:
        raise CheckFailed(f"{len(alarms)} false alarms in {seconds:.0f} s")


def _rows(found: list[Detection]) -> list[dict[str, object]]:
    """One for each sensor and change: injected, flagged, median and longest delay (s); told: can be."""
    import numpy as np

    rows: list[dict[str, object]] = []
    for sensor, change in dict.fromkeys((d.sensor, d.change) for d in found):
        own = [d for d in found if (d.sensor, d.change) == (sensor, change)]
        delays = [d.delay_s for d in own if d.delay_s is not None]
        rows.append(
            {
                "sensor": sensor, "change": change, "injected": len(own), "flagged": len(delays),
                "told": all(d.told for d in own),
                "median_s": float(np.median(delays)) if delays else None, "longest_s": max(delays, default=None),
            }
        )  # fmt: skip
    return rows


def _print(rows: list[dict[str, object]], window: float) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "sensor", "change", "reference can tell", f"flagged within {window:g} s", "median s", "longest s",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for row in rows:
        delays = ("-" if row[key] is None else f"{row[key]:.1f}" for key in ("median_s", "longest_s"))
        told = "yes" if row["told"] else "no"
        table.add_row(str(row["sensor"]), str(row["change"]), told, f"{row['flagged']} of {row['injected']}", *delays)
    Console().print(table)
