"""Typed configs, named presets (genie/configs/*.yaml) and overrides. The resolved config goes into the run folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from calib.errors import InputError
from perception.settings import from_tree, override


@dataclass(frozen=True)
class GateConfig:
    """The gated tick: what is recomputed, and how. Each technique has a switch, so that it can be measured alone."""

    buckets: tuple[int, ...] = (64, 128, 256, 640, 2500)  # columns recomputed a tick; the last is all of them
    keep: tuple[float, ...] = (1.0, 0.7, 0.5)  # of a bucket's rows, by rank, in each layer; (1.0, ...): all (retention)
    head_share: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # of a layer's rows, by rank, that each head reads for
    memory: str = "slots"  # "slots": what is overwritten is fused; "frames": kept as it is; "none": forgotten
    slots: int = 256  # M
    merge_above: float = 0.9  # cosine similarity of what is fused into one slot
    novel_per_tick: int = 16  # slots that may be given to something new in one tick
    surprise_above: float = 2.0  # words of four voxels in a column that contradict the forecast
    # So many more are no surprise where occupancy is perceived, not known: by distance from the ego, one for every
    # NOISE_RING_M (genie/gate.py), the last also beyond. Learned: deploy/noise.py.
    noise_words: tuple[float, ...] = (0.0,)
    refresh_s: float = 5.0  # a column whose surroundings changed is recomputed within twice this time
    quiet_ticks: int = 3  # that a smaller bucket must have sufficed before it is taken


@dataclass(frozen=True)
class ModelConfig:
    """The world model. Grid, column size and horizons are the project's constants (perception/types.py)."""

    width: int = 128  # d, channels of a token
    heads: int = 4
    layers: int = 4
    history: int = 5  # past frames whose keys and values are kept
    class_channels: int = 8  # embedding of one voxel's class
    invented: int = 1280  # R, columns outside the observation decoded per tick
    decoder_width: int = 128
    # Of the ground that goes on outwards, where classes are chosen: a logit in its favour, and whether it never becomes
    # ground of another kind, as suits what was trained by likelihood alone (decision 006, 017).
    margin: float = 0.75
    ground_stays: bool = False
    gate: GateConfig = field(default_factory=GateConfig)


@dataclass(frozen=True)
class TrainConfig:
    """One training run on crops of 10 Hz streams."""

    steps: int = 1500
    batch: int = 8
    accumulate: int = 1  # batches a step, taken in turn; with torchrun, each worker takes so many
    average: float = 0.0  # decay of the moving average of the weights that a run ends with; 0: the last weights
    bf16: bool = False  # forward passes in bfloat16 (autocast)
    gate_streams: int = 0  # training streams that the gate's score is fitted on at the end; the last one judges it
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 50
    gradient_clip: float = 1.0
    crop_columns: int = 25
    invented_per_crop: int = 96
    motion_frames: int = 128  # further frames a batch of which only the objects and the ego's motion are used
    annotators: int = 1  # for those, of each scene, how often its boxes are placed anew as people do; 0: as they are
    heads_first: int = 0  # steps, before the others, that train the motion heads on those frames alone
    frame_steps: int = 0  # steps, after all others, on frames of gated streams: what is invented and moved, alone
    frame_batch: int = 24  # of those frames
    frame_columns: int = 64  # columns of each that are invented in a step
    overlap_weight: float = 1.0  # of the overlap of what is invented with what comes, beside its likelihood
    mini_style_share: float = 0.5  # of samples reduced to solid boxes and road, as streams made from boxes are
    motion_weight: float = 1.0
    fill_weight: float = 1.0
    trajectory_weight: float = 0.2
    most_scenes: int = 0  # of the data root, the first; all are held in memory. 0: all
    crop_scenes: int = 0  # of those, the first, whose occupancy is kept and trained on; of the others, motion. 0: all
    holdout_scenes: int = 2  # the last of those
    checkpoint_every: int = 200
    threads: int = 2


@dataclass(frozen=True)
class Config:
    name: str = "edge"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def preset_names() -> list[str]:
    folder = resources.files("genie") / "configs"
    return sorted(p.name[: -len(".yaml")] for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_config(name_or_path: str, overrides: list[str] | None = None) -> Config:
    """A preset by name or a YAML file, then `key.sub=value` overrides (values are YAML).

    Raises:
        InputError: no such preset or file, unknown key, or a value of the wrong type.
    """
    if name_or_path in preset_names():
        text = (resources.files("genie") / "configs" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
        origin: str | Path = name_or_path
    else:
        origin = Path(name_or_path)
        if not origin.is_file():
            raise InputError(
                f"no preset or config file named {name_or_path!r}",
                expected=f"one of {', '.join(preset_names())}, or a YAML file",
                fix="check the name or the path",
            )
        text = origin.read_text(encoding="utf-8")
    tree = yaml.safe_load(text) or {}
    tree.setdefault("name", Path(name_or_path).stem)
    for item in overrides or []:
        override(tree, item)
    return from_tree(Config, tree, origin)


def to_tree(config: Config | ModelConfig | TrainConfig) -> dict[str, Any]:
    """Nested plain dicts, for YAML and JSON."""
    return dataclasses.asdict(config)
