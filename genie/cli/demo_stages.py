"""The stages of the demo: data, train, table, export, ros, report. Each reads and writes files in OUT alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from calib.errors import CheckFailed
from calib.files import write_json
from genie.cli.demo_run import Demo, read_metrics
from genie.cli.stage import Stage


class Interrupted(Exception):
    """Ctrl-C during training: all is saved."""


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
