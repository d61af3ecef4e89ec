"""The demo's last stage: OUT/report.html and OUT/forecast.png, from the files that the others wrote."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib.files import write_text

if TYPE_CHECKING:
    from genie.cli.demo_run import Demo
    from genie.cli.stage import Done
    from genie.evaluation.html import Card, Picture

WINDOW_CAPTION = (
    "{title}; the ego goes {driven_m:.0f} m in the 3 s. Chosen by the truth alone: the window of its scene with the "
    "most moving voxels, of those in which the ego drives 5 m or more, if there are any. Rows: 1, 2 and 3 s ahead, "
    "each in the ego frame of that moment. Seen from above, forward is up, 80 m a side. Outlines show where "
    "things that can move truly are. Errors compare what is highest in each column: lower than in truth is missed, "
    "higher is wrongly there."
)
SCORES_NOTE = (
    "Future ego poses are given; the mean is over the classes that are present. The moving region is where annotated "
    "boxes faster than 0.5 m/s are, now or then. copy: the last frame as it is. ego-warp: moved by the ego motion. "
    "tracker: its objects moved on at their measured velocity, too, without learning."
)
ROS_NOTE = (
    "Three processes on this machine over DDS: a replay at true speed, the node, the recorder. The node publishes at a "
    "steady rate; between two inferences it moves the last forecast by odometry, which is not counted as an inference. "
    "Latency is from the publication of an observation's stamp to the arrival of the first forecast that rests on it."
)


def write_report(demo: Demo) -> str:
    """Draws and writes both; the picture is of the busiest window."""
    from genie.cli.demo_run import read_metrics
    from genie.cli.demo_table import read_scores
    from genie.cli.stage import read_ledger
    from genie.evaluation import pictures
    from genie.evaluation.html import Picture, Report, render
    from genie.evaluation.showcase import load_shown

    out = demo.out
    windows = [load_shown(path) for path in sorted((out / "windows").glob("*.npz"))]
    pictures.save_png(pictures.forecast_figure(windows[0]), out / "forecast.png", dpi=120)
    drawn = [Picture("What is seen now, what happens, and the forecast.", (out / "forecast.png").read_bytes())]
    for window in windows:
        figure = pictures.comparison_figure(window, "ego-warp")
        drawn.append(Picture(WINDOW_CAPTION.format(title=window.title, driven_m=window.driven_m), pictures.png(figure)))
    records = read_metrics(out / "run")
    ros = json.loads((out / "ros.json").read_text(encoding="utf-8"))
    _, done = read_ledger(out)
    scores = read_scores(out)
    kind = "synthetic scenes" if demo.synthetic else f"scenes of {demo.dataroot}"
    text = render(
        Report(
            title="GenieDrive: from data to a ROS 2 topic",
            lead=f"A world model trained for {_minutes(done, 'train')} on {kind}, judged on scenes that it never saw, "
            "exported, and run as a ROS 2 node.",
            cards=_cards(demo, scores, ros),
            scores=scores,
            scores_note=f"{', '.join(scores[0]['scenes'])}: {scores[0]['windows']} windows, protocol {demo.protocol}. "
            + SCORES_NOTE,
            pictures=drawn,
            losses=_loss_picture(records),
            ros=ros,
            ros_note=ROS_NOTE,
            stages=[(d.name, d.seconds, d.headline) for d in done],
            facts=_facts(demo),
            not_measured=_not_measured(demo),
        )
    )
    write_text(out / "report.html", text)
    return f"{out / 'report.html'} and {out / 'forecast.png'}"


def _minutes(done: Sequence[Done], name: str) -> str:
    seconds = next(d.seconds for d in done if d.name == name)
    return f"{seconds / 60:.1f} minutes"


def _cards(demo: Demo, scores: list[dict[str, Any]], ros: Mapping[str, Any]) -> list[Card]:
    from genie.cli.demo_table import EGO_WARP, MODEL, miou_of
    from genie.evaluation.html import Card

    ours = miou_of(scores, MODEL)
    gaps = [a - b for a, b in zip(ours, miou_of(scores, EGO_WARP), strict=True)]
    parity = json.loads((demo.out / "parity.json").read_text(encoding="utf-8"))
    return [
        Card(" / ".join(f"{value:.1f}" for value in ours), "mIoU (%) at 1 / 2 / 3 s"),
        Card(" / ".join(f"{gap:+.1f}" for gap in gaps), "points of mIoU against ego-warp"),
        Card(f"{ros['published_hz']:.1f} Hz", "forecasts published on the topic"),
        Card(f"{ros['new_inference_hz']:.1f} Hz", "of them new inferences"),
        Card(
            f"{ros['latency_ms']['median']:.0f} ms", f"observation to forecast; p95 {ros['latency_ms']['p95']:.0f} ms"
        ),
        Card(f"{100 * parity['differing_voxels']:.4f} %", "voxels that ONNX Runtime and PyTorch tell differently"),
    ]


def _loss_picture(records: list[dict[str, float]]) -> Picture:
    from genie.evaluation import pictures
    from genie.evaluation.html import Picture

    caption = (
        "Training losses. First the heads train alone: nothing is filled, and the total is of fewer parts. motion: "
        "distance (m) of the objects' motion from the truth, beside that of the measured "
        "velocity alone. fill: error of the invented columns, beside that of copied ground. trajectory: of the ego."
    )
    return Picture(caption, pictures.png(pictures.loss_figure(records)))


def _facts(demo: Demo) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("geniedrive", "torch", "onnxruntime", "numpy"))
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        ("processor", f"{_processor()}, {len(os.sched_getaffinity(0))} cores usable; no GPU is used"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("load average (1/5/15 min)", f"{load}, the demo's own work included"),
        ("system", f"{platform.platform()}, Python {platform.python_version()}"),
        ("versions", versions),
        ("model", f"config {demo.config.preset}, seed {demo.config.seed}"),
        ("command", shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        ("date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
    ]


def _processor() -> str:
    """As Linux names it; platform's word where it does not."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _not_measured(demo: Demo) -> list[str]:
    data = ["Real scenes: all data here is synthetic."] if demo.synthetic else []
    return [
        *data,
        "Perception: the occupancy is given (labels), not made from cameras or lidar.",
        "The model's own ego trajectory: the table gives the true future ego poses. "
        "`geniedrive eval --ego predicted` measures it.",
        "A GPU, TensorRT and a Jetson: all times are of the processor named above.",
        "A network: the ROS 2 processes ran on one machine.",
    ]
