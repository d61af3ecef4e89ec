"""`geniedrive train perception` and `geniedrive eval perception`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from genie.cli.names import split_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from perception.config import ModelConfig
    from perception.evaluate import Row
    from perception.frames import FrameStore
    from perception.prepare import RigPlan

_CACHE = "Folder of prepared keyframes, made where it lacks some; default: "


def train(
    dataroot: Annotated[Path, typer.Option(help="A nuScenes data root, real or synthetic, with Occ3D labels.")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    config: Annotated[Optional[Path], typer.Option(help="A YAML file over the defaults.")] = None,  # noqa: UP045
    override: Annotated[Optional[list[str]], typer.Option("--set", help="key.sub=value; repeatable.")] = None,  # noqa: UP045
    scenes: Annotated[Optional[str], typer.Option(help="Comma-separated; default: all.")] = None,  # noqa: UP045
    frames: Annotated[Optional[Path], typer.Option(help=_CACHE + "beside OUT, OUT-frames.")] = None,  # noqa: UP045
    backbone: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="ResNet-18 weights of torchvision to begin with; needs --set model.backbone_width=64."),
    ] = None,
    weights: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A run folder, a checkpoint, or shipped weights by name, to begin with: fine-tuning."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train the perception network. Ctrl-C saves and exits with 0; --resume goes on."""
    from perception.checkpoint import save_prior
    from perception.config import load_config
    from perception.evaluate import mean_map
    from perception.train import train as run_training

    settings = load_config(config, override)
    folder = frames or out.with_name(out.name + "-frames")
    store, found = _frames(dataroot, folder, settings.model, scenes, settings.train.frames_in_memory)
    if not run_training(settings, store, found, out, seed=seed, resume=resume, backbone=backbone, weights=weights):
        return
    save_prior(out / "prior.npz", mean_map(store, found))
    typer.echo(f"trained: {out / 'model.safetensors'}")


def evaluate(
    dataroot: Annotated[Path, typer.Option(help="A nuScenes data root, real or synthetic, with Occ3D labels.")],
    model: Annotated[
        str, typer.Option(help="A run folder, a checkpoint, shipped weights by name, or a folder that `export` wrote.")
    ] = "perception",
    scenes: Annotated[Optional[str], typer.Option(help="Comma-separated; default: all.")] = None,  # noqa: UP045
    frames: Annotated[Optional[Path], typer.Option(help=_CACHE + "beside it, DATAROOT-frames.")] = None,  # noqa: UP045
    lost: Annotated[bool, typer.Option(help="Also a row for each lost camera.")] = True,
    rays: Annotated[bool, typer.Option(help="Also RayIoU, of all rows but those of lost cameras.")] = True,
    threads: Annotated[int, typer.Option(help="Of the network on a CPU.")] = 2,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the scores there.")] = None,  # noqa: UP045
) -> None:
    """Score perception: mIoU with and without the camera mask, occupied IoU, RayIoU, beside baselines."""
    from functools import partial

    import torch
    from rich.console import Console
    from rich.progress import track

    from calib.files import write_json
    from deploy.perception_scores import ExportedPerceiver
    from deploy.perception_spec import is_perception_export, read_perception_manifest
    from perception import evaluate as scoring
    from perception.checkpoint import load_network, read_prior
    from perception.report import score_table, to_json

    torch.set_num_threads(threads)
    perceiving: Callable[[RigPlan], scoring.Perceive]
    if is_perception_export(Path(model)):
        config, prior = read_perception_manifest(Path(model)).config.model, None  # the mean map lies beside weights
        perceiving = partial(ExportedPerceiver, Path(model), threads)
    else:
        loaded, prior = load_network(model), read_prior(model)
        config, perceiving = loaded.config.model, partial(scoring.Perceiver, loaded.model)
    store, found = _frames(dataroot, frames or dataroot.with_name(dataroot.name + "-frames"), config, scenes)
    sensors = (scoring.ONE_SWEEP, scoring.LIDAR_ONLY, scoring.CAMERA_ONLY, scoring.FUSED)
    chosen = scoring.usable(config, (*sensors, *(scoring.lost_cameras() if lost else ())))
    rows: list[Row] = scoring.evaluate(
        perceiving,
        store,
        found,
        chosen,
        prior=prior,
        rays_for=("mean map", "raw voxels", *(s.name for s in sensors)) if rays else (),
        progress=lambda names: track(list(names), "scoring", console=Console(stderr=True), transient=True),
    )
    count = sum(len(tokens) for tokens in found.values())
    Console().print(score_table(rows, f"{dataroot.name}: {count} keyframes of {len(found)} scenes, %"))
    if json_file is not None:
        write_json(json_file, {"model": model, "scenes": list(found), "keyframes": count, "rows": to_json(rows)})


def _frames(
    dataroot: Path, folder: Path, config: ModelConfig, scenes: str | None, keep: int = 0
) -> tuple[FrameStore, dict[str, list[str]]]:
    from rich.console import Console
    from rich.progress import track

    from genie.data.perception_frames import prepare_frames
    from perception.frames import FrameStore

    store = FrameStore(folder, config, keep)
    bar = Console(stderr=True)
    found = prepare_frames(
        dataroot,
        store,
        split_names(scenes) or None,
        lambda names: track(names, "preparing keyframes", console=bar, transient=True),
    )
    return store, found
