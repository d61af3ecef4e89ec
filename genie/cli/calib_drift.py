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
    reference_scenes: Annotated[int, typer.Option(help="How many scenes the reference is fitted on; not judged.")] = 3,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Write the figures there."),
    ] = None,
) -> None:
    """False alarms in driving as it was, and seconds to the alarm after 0.5 deg or 5 cm. Exit 1 on a false alarm."""
    from rich.console import Console
    from rich.progress import track

    from calib.drift import fit_reference, rate_bound_per_hour
    from calib.drift_trial import detections, driven_seconds, false_alarms, read_scene
    from calib.errors import CheckFailed, InputError
    from calib.files import write_json
    from calib.tables import Tables

    scenes = [tables.scene(name) for tables in map(Tables, dataroots) for name in tables.scene_names]
    if len(scenes) <= reference_scenes:
        raise InputError(
            f"{len(scenes)} scenes", expected=f"more than the {reference_scenes} of the reference", fix="give more"
        )
    trials = []
    for number, scene in enumerate(track(scenes, "reading", console=Console(stderr=True), transient=True)):
        read = read_scene(scene, (inject_at, inject_at + window))
        trials.append([t._replace(scene=f"{number}/{t.scene}") for t in read])
    reference = fit_reference([t.reading for part in trials[:reference_scenes] for t in part])
    judged = [t for part in trials[reference_scenes:] for t in part]
    seconds, alarms, found = driven_seconds(judged), false_alarms(judged, reference), detections(judged, reference)
    bound = rate_bound_per_hour(len(alarms), seconds)
    typer.echo(f"driving judged: {seconds:.0f} s in {len(trials) - reference_scenes} scenes, {len(judged)} images")
    for alarm in alarms:
        typer.echo(f"false alarm: {alarm.camera} {alarm.change} at {alarm.stamp_us}")
    typer.echo(f"false alarms: {len(alarms)}; upper 95 % bound of their rate: {bound:.1f} per hour")
    rows = _rows(found, {name: r.telling.tolist() for name, r in reference.items()})
    _print(rows, window)
    if json_file is not None:
        write_json(json_file, {"seconds": seconds, "alarms": len(alarms), "bound_per_hour": bound, "changes": rows})
    if alarms:
        raise CheckFailed(f"{len(alarms)} false alarms in {seconds:.0f} s")


def _rows(found: list[Detection], telling: dict[str, list[bool]]) -> list[dict[str, object]]:
    """One for each camera and change: injected, flagged, median and longest delay (s), told: by the reference."""
    import numpy as np

    from calib.drift import CHANGES, name_of

    rows: list[dict[str, object]] = []
    for camera in sorted({d.camera for d in found}):
        for k in range(len(CHANGES)):
            own = [d for d in found if (d.camera, d.change) == (camera, k)]
            delays = [d.delay_s for d in own if d.delay_s is not None]
            rows.append(
                {
                    "camera": camera, "change": name_of(k), "told": telling[camera][k ^ 1], "injected": len(own),
                    "flagged": len(delays), "median_s": float(np.median(delays)) if delays else None,
                    "longest_s": max(delays) if delays else None,
                }
            )  # fmt: skip
    return rows


def _print(rows: list[dict[str, object]], window: float) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "camera", "change", "reference can tell", f"flagged within {window:g} s", "median s", "longest s",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for row in rows:
        delays = ("-" if row[key] is None else f"{row[key]:.1f}" for key in ("median_s", "longest_s"))
        told = "yes" if row["told"] else "no"
        table.add_row(str(row["camera"]), str(row["change"]), told, f"{row['flagged']} of {row['injected']}", *delays)
    Console().print(table)
