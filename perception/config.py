"""What a perception network is and how it is trained. Defaults are those of the shipped one.

`--set key.sub=value` changes them. The resolved config is written into the run folder and into the weights' metadata.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from calib.errors import InputError
from perception.settings import from_tree, override

# In the order of the network's inputs.
CAMERAS: tuple[str, ...] = (
    "CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT",
)  # fmt: skip
LIDAR = "LIDAR_TOP"


@dataclass(frozen=True)
class ModelConfig:
    """The network. Grid and classes are the project's constants (perception/types.py)."""

    lidar: bool = True
    camera: bool = True
    image_width: int = 352  # px
    image_height: int = 128
    backbone_width: int = 24  # channels of the first stage; 64 takes torchvision's resnet18 weights
    camera_channels: int = 32  # lifted into each voxel
    paint_channels: int = 16  # of what the images show of a voxel that the lidar struck, at full resolution
    depth_bins: int = 36
    nearest: float = 2.0  # m ahead of the camera, where the first bin begins; each is longer by the same ratio
    farthest: float = 58.0
    lift_step: int = 2  # voxels of the grid a side of a lifted voxel
    bev_channels: int = 48
    fine_channels: int = 24  # of the lidar's way around the trunk, at full resolution
    sweeps: int = 5  # that are gathered


@dataclass(frozen=True)
class TrainConfig:
    """One training run on keyframes with Occ3D labels."""

    steps: int = 2400
    batch: int = 1
    accumulate: int = 1  # batches a step
    average: float = 0.99  # decay of the moving average of the weights that a run ends with; 0: the last weights
    bf16: bool = False  # forward passes in bfloat16 (autocast)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    warmup_steps: int = 50
    gradient_clip: float = 5.0
    lidar_alone: float = 0.25  # share of batches without cameras
    camera_alone: float = 0.3  # without lidar
    camera_dropout: float = 0.15  # of each camera, where there are cameras
    one_sweep: float = 0.3  # share of frames that see the newest sweep alone
    mask: str = "either"  # voxels that count: "camera", "lidar", "either" (seen by one of them), "none" (all)
    rarity: float = 0.35  # a class weighs its share of the occupied voxels to the power of minus this
    lovasz_weight: float = 1.0
    voxels: int = 80000  # drawn a frame of those that count: all of them cost more than they tell
    lovasz_voxels: int = 30000  # of those
    unseen_weight: float = (
        0.15  # of the voxels that do not count: else anything may be said there, and a car acts on it
    )
    unseen_voxels: int = 20000  # drawn of those
    depth_weight: float = 0.2
    checkpoint_every: int = 100
    frames_in_memory: int = 400  # 10 MB each; others are read at each step
    threads: int = 2


@dataclass(frozen=True)
class Config:
    name: str = "perception"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def load_config(path: Path | None = None, overrides: list[str] | None = None) -> Config:
    """The defaults, or a YAML file over them; then `key.sub=value` overrides (values are YAML).

    Raises:
        InputError: no such file, unknown key, a value of the wrong type, or a network without an input.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        if not path.is_file():
            raise InputError("no such file", expected="a YAML file", fix="check the path given as --config", path=path)
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for item in overrides or []:
        override(tree, item)
    return check(from_tree(Config, tree, path or "the command line"))


def check(config: Config) -> Config:
    """Returns it, or raises InputError: values that cannot be meant."""
    model, schedule = config.model, config.train
    if not (model.lidar or model.camera):
        raise InputError("neither model.lidar nor model.camera", expected="one of them", fix="switch one on")
    if model.image_width % 32 or model.image_height % 32:
        raise InputError(
            f"images of {model.image_width} x {model.image_height} px",
            expected="multiples of 32: the backbone halves them five times",
            fix="change model.image_width and model.image_height",
        )
    if model.bev_channels % 16 or model.fine_channels % 8:
        raise InputError(
            f"model.bev_channels {model.bev_channels}, model.fine_channels {model.fine_channels}",
            expected="multiples of 16 and of 8: their combinations are normalised in 8 groups",
            fix="choose other numbers",
        )
    if schedule.mask not in MASKS:
        raise InputError(f"train.mask {schedule.mask!r}", expected=f"one of {', '.join(MASKS)}", fix="choose one")
    if schedule.lidar_alone + schedule.camera_alone > 1:
        raise InputError(
            f"train.lidar_alone {schedule.lidar_alone} and train.camera_alone {schedule.camera_alone}",
            expected="shares of the batches: at most 1 together",
            fix="lower one of them",
        )
    return config


MASKS = ("camera", "lidar", "either", "none")


def to_tree(config: Config) -> dict[str, Any]:
    """Nested plain dicts, for YAML and JSON."""
    return dataclasses.asdict(config)
