"""`geniedrive eval sensors`: what perception costs the forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from genie.cli.names import split_names

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

TRUTH = "the truth"
WAYS = {"raw": "each frame by itself", "steady": "with evidence over time", "prior": "and with forecasts as a prior"}


def evaluate(
    dataroot: Annotated[Path, typer.Option(help="A nuScenes data root with 10 Hz streams, sweeps and images.")],
    perception: Annotated[Path, typer.Option(help="Folder that `geniedrive export perception` wrote.")],
    bundle: Annotated[Path, typer.Option(help="Export of the world model.")],
    scenes: Annotated[Optional[str], typer.Option(help="Comma-separated; default: all.")] = None,  # noqa: UP045
    threads: Annotated[int, typer.Option(help="Of perception, on a CPU.")] = 2,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the scores there.")] = None,  # noqa: UP045
) -> None:
    """Score forecasts from what the sensors show beside forecasts from the truth, and the columns that each makes."""
    from rich.console import Console
    from rich.progress import track

    from calib.files import write_json
    from deploy.forecaster import BundleForecaster
    from deploy.perceive import Perception
    from deploy.sensed import SensedForecaster, SensedScene, see, ways
    from genie.data.bag.source import BagSource
    from genie.data.nuscenes import open_nuscenes
    from genie.data.scenes import choose_scenes, load_scenes
    from genie.evaluation import rollout
    from genie.evaluation.report import score_table, to_json
    from perception.config import LIDAR

    nusc = open_nuscenes(dataroot)
    names = choose_scenes(dataroot, "stream", split_names(scenes) or None)
    seen: dict[str, dict[int, NDArray[uint8]]] = {way: {} for way in WAYS}
    for scene in load_scenes(dataroot, "stream", names):
        source = BagSource(nusc, scene.sequence.name)
        rig = source.rig()
        sensed = SensedScene(source, rig, LIDAR)
        found = see(
            sensed,
            scene.sequence,
            Perception(perception, rig, threads=threads),
            bundle,
            lambda frames, name=scene.sequence.name: track(  # type: ignore[misc]
                list(frames), name, console=Console(stderr=True), transient=True
            ),
        )
        for way, frames in ways(found, scene.sequence.timestamp_us):
            seen[way] |= frames
    results, rows = [], []
    for way in (TRUTH, *WAYS):
        model = BundleForecaster(bundle)
        forecaster = model if way == TRUTH else SensedForecaster(WAYS[way], model, seen[way])
        model.name = TRUTH
        result = rollout.evaluate(forecaster, load_scenes(dataroot, "stream", names), "stream")
        columns = {k: sum(v) / len(v) for k, v in (("needed", model.needed), ("computed", model.computed))}
        results.append(result)
        rows.append({"from": forecaster.name, "columns_a_tick": columns} | to_json(result))
    title = f"{dataroot.name}: forecasts from ({results[0].windows} windows), %"
    Console().print(score_table(results, title))
    for row in rows:
        found_columns = row["columns_a_tick"]
        typer.echo(
            f"{row['from']}: columns a tick: {found_columns['needed']:.1f} had to be computed, "
            f"{found_columns['computed']:.1f} were"
        )
    if json_file is not None:
        write_json(json_file, {"scenes": names, "rows": rows})
