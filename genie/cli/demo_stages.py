"""The stages of the demo: data, train, table, export, ros, report. Each reads and writes files in OUT alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from calib.errors import CheckFailed
from calib.files import write_json
from genie.cli.stage import Stage


class Interrupted(Exception):
    """Ctrl-C during training: all is saved."""


@dataclass(frozen=True)
class DemoConfig:
    """scenes: how many are made, or used of the user's. seconds: of each that is made. holdout: scenes for the table.
    steps: of training; 0: as many as the preset says.
    """

    scenes: int = 28
    seconds: float = 20.0
    holdout: int = 4
    preset: str = "tiny"
    steps: int = 0
    seed: int = 0
    jobs: int = 2
    parity_ticks: int = 50
    ros_seconds: float = 20.0
    windows_shown: int = 3


@dataclass(frozen=True)
class Demo:
    """dataroot: OUT/data, or the user's. source: "stream" (10 Hz) where there is one, else "occ3d"."""

    out: Path
    dataroot: Path
    synthetic: bool
    source: str
    config: DemoConfig

    @classmethod
    def open(cls, out: Path, dataroot: Path | None, config: DemoConfig) -> Demo:
        """Raises InputError if the user's data root has no labels."""
        if dataroot is None:
            return cls(out, out / "data", True, "stream", config)
        from genie.data.scenes import list_scenes
        from genie.data.stream import list_stream_scenes

        if dataroot.is_dir() and list_stream_scenes(dataroot):
            return cls(out, dataroot, False, "stream", config)
        list_scenes(dataroot, "occ3d")
        return cls(out, dataroot, False, "occ3d", config)

    @property
    def protocol(self) -> str:
        return "stream" if self.source == "stream" else "i2world"

    def overrides(self) -> list[str]:
        """Of the preset. A small data set keeps more of its scenes for training; of a large one the first are taken."""
        from genie.data.scenes import list_scenes

        most = self.config.scenes
        scenes = most if self.synthetic else min(most, len(list_scenes(self.dataroot, self.source)))
        held_out = min(self.config.holdout, max(1, scenes // 4))
        steps = [f"train.steps={self.config.steps}"] if self.config.steps else []
        return [f"train.most_scenes={most}", f"train.holdout_scenes={held_out}", *steps]

    def identity(self) -> dict[str, Any]:
        """What must be equal for a half-finished demo to go on."""
        from genie.config import load_config, to_tree

        tree = to_tree(load_config(self.config.preset, self.overrides()))
        training = {f"{part}.{key}": value for part in ("model", "train") for key, value in tree[part].items()}
        root = None if self.synthetic else str(self.dataroot.resolve())
        # As a file tells it: lists, not tuples.
        identity: dict[str, Any] = json.loads(json.dumps({"dataroot": root, **asdict(self.config), **training}))
        return identity

    def held_out(self) -> list[str]:
        return list(yaml.safe_load((self.out / "run/split.yaml").read_text(encoding="utf-8"))["held_out"])


def stages_of(demo: Demo) -> list[Stage]:
    """In order."""
    from genie.cli.demo_report import write_report
    from genie.cli.demo_table import ENTRANTS, evaluate, print_scores

    out, root, config = demo.out, demo.dataroot, demo.config
    settings = "".join(f" --set {item}" for item in demo.overrides())
    synth = f"geniedrive data synth {root} --scenes {config.scenes} --seconds {config.seconds:g} --seed {config.seed}"
    ablations = "--model copy --model ego-warp --model tracker"

    def stage(name: str, command: str, outputs: tuple[str, ...], run: Callable[[Demo], str]) -> Stage:
        show = (lambda: print_scores(demo)) if name == "table" else (lambda: None)
        return Stage(name, command, tuple(out / file for file in outputs), lambda: run(demo), show)

    return [
        stage(
            "data",
            synth if demo.synthetic else f"geniedrive data info {root}",
            ("data/v1.0-synth/scene.json",) if demo.synthetic else (),
            make_data,
        ),
        stage(
            "train",
            f"geniedrive train --config {config.preset} --dataroot {root} --source {demo.source} --out {out}/run"
            + settings,
            ("run/model.safetensors", "run/split.yaml"),
            train,
        ),
        stage(
            "table",
            f"geniedrive eval --dataroot {root} --protocol {demo.protocol} {ablations} --model {out}/run",
            tuple(f"eval/{entrant.name}.json" for entrant in ENTRANTS),
            evaluate,
        ),
        stage(
            "export",
            f"geniedrive export {out}/run --out {out}/bundle && geniedrive parity {out}/bundle",
            ("bundle/manifest.json", "parity.json"),
            export,
        ),
        stage("ros", f"geniedrive node --bundle {out}/bundle & geniedrive replay ...", ("ros.json", "ros.npz"), ros),
        stage("report", "", ("report.html", "forecast.png"), write_report),
    ]


def make_data(demo: Demo) -> str:
    from genie.data.scenes import list_scenes

    if demo.synthetic:
        from genie.cli.data import write_synth
        from genie.data.synth.config import SynthConfig

        config = demo.config
        write_synth(demo.dataroot, SynthConfig(config.scenes, config.seconds, config.seed), config.jobs)
    scenes = list_scenes(demo.dataroot, demo.source)
    kind = "synthetic scenes" if demo.synthetic else "scenes of your nuScenes"
    rate = "10 Hz" if demo.source == "stream" else "2 Hz"
    used = f", the first {demo.config.scenes} of them are used" if len(scenes) > demo.config.scenes else ""
    return f"{len(scenes)} {kind}, labels at {rate}{used}"


def train(demo: Demo) -> str:
    from genie.config import load_config
    from genie.training.loop import train as run_training

    run = demo.out / "run"
    resume = (run / "checkpoint.safetensors").is_file()
    if run.exists() and not resume:
        shutil.rmtree(run)  # begun by this demo and cut off before its first checkpoint: nothing in it can be used
    config = load_config(demo.config.preset, demo.overrides())
    if not run_training(config, demo.dataroot, run, source=demo.source, seed=demo.config.seed, resume=resume):
        raise Interrupted
    heads = config.train.heads_first
    losses = [record for record in read_metrics(run) if record["step"] > heads]  # of the heads alone is another sum
    fell = f", loss {losses[0]['total']:.2f} -> {losses[-1]['total']:.2f}" if losses else ""
    return f"{heads} steps of the heads, {config.train.steps} of {config.train.batch} crops{fell}"


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The records of metrics.jsonl by step; of a step that a resumed run repeated, the last."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    records = {record["step"]: record for record in map(json.loads, lines)}
    return [records[step] for step in sorted(records)]


def export(demo: Demo) -> str:
    import torch

    from deploy.export import export as write_export
    from deploy.parity import compare
    from deploy.parity_stream import parity_stream
    from deploy.runtime import OnnxRuntime
    from deploy.torch_runtime import TorchRuntime, bundled_model

    bundle, ticks = demo.out / "bundle", demo.config.parity_ticks
    manifest = write_export(demo.out / "run", bundle).manifest
    # On one thread each: the two sets of threads would wait for each other's cores.
    torch.set_num_threads(1)
    runtime = OnnxRuntime(bundle, threads=1)
    if demo.source == "stream":
        stream = parity_stream(demo.dataroot, demo.held_out()[0], ticks)
    else:  # labels at 2 Hz make no stream
        stream = parity_stream(None, None, ticks)
    ticks = min(ticks, len(stream))
    report = compare(TorchRuntime(bundled_model(bundle, manifest), manifest.form), runtime, stream, ticks)
    checks = report.checks(manifest.limits)
    write_json(demo.out / "parity.json", {**asdict(report), "checks": [asdict(c) for c in checks]})
    for check in checks:
        print(f"  {check.what}: {check.found:.3g} (limit {check.limit:g}) {'ok' if check.passed else 'FAILED'}")
    failed = [check.what for check in checks if not check.passed]
    if failed:
        raise CheckFailed("parity: " + "; ".join(failed))
    return (
        f"bundle {manifest.bundle_id}, {manifest.nodes} nodes; parity over {ticks} ticks: "
        f"{100 * report.differing_voxels:.4f} % of voxels differ"
    )


def ros(demo: Demo) -> str:
    from rich.console import Console

    from genie.cli.demo_ros import run_graph

    scene = demo.held_out()[0]
    seconds = demo.config.ros_seconds
    with Console(stderr=True).status(f"node, replay of {scene} and recorder for {seconds:g} s"):
        found = run_graph(demo.out / "bundle", demo.dataroot, scene, demo.source, seconds, demo.out)
    return headline_of_ros(found)


def headline_of_ros(found: dict[str, Any]) -> str:
    """Of the recorder's summary."""
    latency = found["latency_ms"]
    return (
        f"published {found['published_hz']:.1f} Hz, new inferences {found['new_inference_hz']:.1f} Hz, "
        f"observation to forecast median {latency['median']:.0f} ms, p95 {latency['p95']:.0f} ms"
    )
