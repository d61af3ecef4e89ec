"""The demo's table: every forecaster on the held-out scenes, a scene at a time in several processes."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from calib.files import write_json

if TYPE_CHECKING:
    from genie.cli.demo_run import Demo
    from genie.evaluation.rollout import Evaluation
    from genie.evaluation.showcase import Shown


@dataclass(frozen=True)
class Entrant:
    """A row. name: of its JSON. zeroed: learned parts of the trained model; None: a baseline of this name."""

    name: str
    label: str
    zeroed: tuple[str, ...] | None = None


MODEL = Entrant("model", "GenieDrive", ())
EGO_WARP, TRACKER = Entrant("ego-warp", "ego-warp"), Entrant("tracker", "tracker")
ENTRANTS = (
    Entrant("copy", "copy"),
    EGO_WARP,
    TRACKER,
    MODEL,
    Entrant("model-nothing-learned", "- nothing learned", ("correction", "invention")),
    Entrant("model-no-motion-fill-evidence", "- no motion, fill, evidence", ("motion", "fill", "evidence")),
)


class Judged(NamedTuple):
    """Of one scene: an evaluation for each of ENTRANTS, and the window to look at."""

    evaluations: list[Evaluation]
    shown: Shown | None


def evaluate(demo: Demo) -> str:
    """Writes OUT/eval/*.json and OUT/windows/*.npz."""
    from rich.console import Console
    from rich.progress import track

    from genie.evaluation.report import to_json

    names, config = demo.held_out(), demo.config
    arguments = [(demo.dataroot, demo.source, name, demo.protocol, demo.out / "run") for name in names]
    console = Console(stderr=True)
    # Spawned, not forked: OpenCV's and torch's threads do not survive a fork.
    with ProcessPoolExecutor(config.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = pool.map(judge_scene, *zip(*arguments, strict=True))
        bar = track(results, "evaluating", len(names), console=console, transient=True, disable=not console.is_terminal)
        judged = list(bar)
    for entrant, of_scenes in zip(ENTRANTS, zip(*(j.evaluations for j in judged), strict=True), strict=True):
        write_json(demo.out / f"eval/{entrant.name}.json", to_json(replace(pooled(of_scenes), model=entrant.label)))
    shutil.rmtree(demo.out / "windows", ignore_errors=True)
    windows = sorted((j.shown for j in judged if j.shown is not None), key=lambda shown: shown.interest, reverse=True)
    for index, window in enumerate(windows[: config.windows_shown]):
        window.save(demo.out / f"windows/{index}.npz")
    return headline_of_scores(read_scores(demo.out))


def judge_scene(dataroot: Path, source: str, name: str, protocol: str, run: Path) -> Judged:
    """In a process of its own, on one thread: two processes of one are faster than one of two."""
    import cv2
    import torch

    from genie.data.scenes import load_scenes
    from genie.evaluation.registry import make_forecaster
    from genie.evaluation.rollout import evaluate as run_evaluation
    from genie.evaluation.showcase import show

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    forecasters = {e: make_forecaster(e.name if e.zeroed is None else str(run), e.zeroed or ()) for e in ENTRANTS}
    (scene,) = load_scenes(dataroot, source, [name])
    evaluations = [run_evaluation(forecaster, [scene], protocol) for forecaster in forecasters.values()]
    return Judged(evaluations, show(scene, protocol, forecasters[EGO_WARP], forecasters[MODEL]))


def pooled(evaluations: tuple[Evaluation, ...]) -> Evaluation:
    """Evaluations of one forecaster on several scenes as one: counts are summed, scores are read off the sum."""
    import numpy as np

    from genie.evaluation.rollout import HorizonTables

    tables = {}
    for horizon in evaluations[0].tables:
        of_scenes = [e.tables[horizon] for e in evaluations]
        moving = [t.moving for t in of_scenes if t.moving is not None]
        everywhere = np.sum([t.everywhere for t in of_scenes], axis=0)
        annotated = len(moving) == len(of_scenes)
        tables[horizon] = HorizonTables(everywhere, np.sum(moving, axis=0) if annotated else None)
    scenes = tuple(name for e in evaluations for name in e.scenes)
    return replace(evaluations[0], scenes=scenes, windows=sum(e.windows for e in evaluations), tables=tables)


def read_scores(out: Path) -> list[dict[str, Any]]:
    """Of the table, in its order."""
    return [json.loads((out / f"eval/{entrant.name}.json").read_text(encoding="utf-8")) for entrant in ENTRANTS]


def headline_of_scores(scores: list[dict[str, Any]]) -> str:
    """mIoU of the model at 1, 2, 3 s, and how far it is from ego-warp and from the tracker."""
    ours = miou_of(scores, MODEL)

    def gap(other: Entrant) -> str:
        return "/".join(f"{a - b:+.1f}" for a, b in zip(ours, miou_of(scores, other), strict=True))

    values = "/".join(f"{v:.1f}" for v in ours)
    return f"mIoU {values} % at 1/2/3 s: {gap(EGO_WARP)} against ego-warp, {gap(TRACKER)} against the tracker"


def miou_of(scores: list[dict[str, Any]], entrant: Entrant) -> list[float]:
    """At 1, 2, 3 s, in percent."""
    from genie.evaluation.report import SHOWN_S

    (horizons,) = (score["horizons"] for score in scores if score["model"] == entrant.label)
    return [horizons[f"{h:.1f}"]["miou"] for h in SHOWN_S]


def print_scores(demo: Demo) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from genie.evaluation.report import score_row

    scores = read_scores(demo.out)
    where = f"{len(scores[0]['scenes'])} held-out scenes, {scores[0]['windows']} windows, ego poses given, %"
    table = Table(title=where, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("forecast", no_wrap=True)
    for column in ("mIoU 1/2/3 s", "IoU 1/2/3 s", "moving mIoU"):
        table.add_column(column, justify="right", no_wrap=True)
    for score in scores:
        table.add_row(*score_row(score))
    Console().print(table)
