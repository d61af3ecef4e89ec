"""Run folders: weights and optimiser as safetensors (nothing that can run code), written atomically.

RUN/config.yaml              the resolved config
RUN/split.yaml               which scenes were trained on and which were held out
RUN/metrics.jsonl            one line a logged step
RUN/tensorboard/             the same as scalars
RUN/checkpoint.safetensors   weights, optimiser and step: what --resume reads
RUN/model.safetensors        weights and config: what eval and export read
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from calib.errors import InputError
from genie.config import Config, ModelConfig, to_tree
from genie.model import GenieDrive
from genie.shipped import checkpoint_path
from perception import tensors as files
from perception.settings import from_tree

FORMAT = "geniedrive-1"


class Loaded(NamedTuple):
    """tensors by name, and the config they belong to."""

    tensors: dict[str, Tensor]
    config: Config
    step: int


def save_checkpoint(
    path: Path,
    model: GenieDrive,
    config: Config,
    step: int,
    optimizer: torch.optim.Optimizer | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Weights, and with `optimizer` and `average` also those; all or nothing."""
    metadata = {"format": FORMAT, "config": json.dumps(to_tree(config)), "step": str(step)}
    files.save_tensors(path, model, metadata, optimizer, average)


def checkpoint_file(path: Path) -> Path:
    """The file of a checkpoint that is named by itself, by its run folder or as shipped weights; it need not exist."""
    path = checkpoint_path(path)
    return path / "model.safetensors" if path.is_dir() else path


def read_checkpoint(path: Path) -> Loaded:
    """Reads a checkpoint of this project, named as for `checkpoint_file`.

    Raises:
        InputError: no such file, not whole, or not ours.
    """
    path = checkpoint_file(path)
    stored = files.read_tensors(path, FORMAT, "geniedrive train")
    config = from_tree(Config, json.loads(stored.metadata["config"]), path)
    return Loaded(stored.tensors, config, int(stored.metadata["step"]))


def load_model(path: Path) -> tuple[GenieDrive, Config]:
    """The model of a checkpoint, in evaluation mode."""
    loaded = read_checkpoint(path)
    model = GenieDrive(loaded.config.model)
    load_weights(model, loaded, path)
    return model.eval(), loaded.config


def load_weights(model: GenieDrive, loaded: Loaded, path: Path) -> None:
    """Copies weights; every name and shape must fit."""
    files.load_weights(model, files.Stored(loaded.tensors, {}), path)


def load_optimizer(optimizer: torch.optim.Optimizer, loaded: Loaded) -> None:
    """Restores moments and counters saved by `save_checkpoint`."""
    files.load_optimizer(optimizer, files.Stored(loaded.tensors, {}))


def check_same_model(loaded: Loaded, wanted: ModelConfig, path: Path) -> None:
    """A run can only be resumed, or begin, with weights of its own model."""
    if loaded.config.model == wanted:
        return
    have, want = to_tree(loaded.config.model), to_tree(wanted)
    differing = ", ".join(f"{k}: {have[k]} there, {want[k]} here" for k in have if have[k] != want[k])
    raise InputError(
        f"a checkpoint of another config ({differing})",
        expected="the model config that this run has",
        fix="take the config of that checkpoint (config.yaml in its run folder), or begin anew in another --out",
        path=path,
    )
