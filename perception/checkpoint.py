"""Perception's checkpoints, and the weights that come with the package (perception/weights/, with a model card)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calib.errors import InputError
from calib.files import atomic_path
from perception import tensors as files
from perception.config import Config, ModelConfig, to_tree
from perception.model import OccupancyNet
from perception.settings import from_tree

FORMAT = "geniedrive-perception-1"
SHIPPED = ("perception",)


class Loaded(NamedTuple):
    """The network in evaluation mode, its config, and how long it was trained."""

    model: OccupancyNet
    config: Config
    step: int


def save_checkpoint(
    path: Path,
    model: OccupancyNet,
    config: Config,
    step: int,
    optimizer: torch.optim.Optimizer | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Weights, and with `optimizer` and `average` also those; all or nothing."""
    metadata = {"format": FORMAT, "config": json.dumps(to_tree(config)), "step": str(step)}
    files.save_tensors(path, model, metadata, optimizer, average)


def checkpoint_path(spec: str | Path) -> Path:
    """Of a name in SHIPPED its file in the package, unless something of that name is there; else the path itself."""
    path = Path(spec)
    if str(spec) in SHIPPED and not path.is_file() and not (path / "model.safetensors").is_file():
        return Path(str(resources.files("perception"))) / "weights" / f"{spec}.safetensors"
    return path


def read_checkpoint(path: Path | str) -> files.Stored:
    """A file, a run folder, or shipped weights by name.

    Raises:
        InputError: no such file, not whole, or not ours.
    """
    return files.read_tensors(checkpoint_path(path), FORMAT, "geniedrive train perception")


def config_of(stored: files.Stored, path: Path | str) -> Config:
    return from_tree(Config, json.loads(stored.metadata["config"]), path)


def load_network(path: Path | str) -> Loaded:
    """
    Raises:
        InputError: as `read_checkpoint`; or weights that do not fit their config.
    """
    stored = read_checkpoint(path)
    config = config_of(stored, path)
    model = OccupancyNet(config.model)
    files.load_weights(model, stored, Path(path))
    return Loaded(model.eval(), config, int(stored.metadata["step"]))


def check_same_model(stored: files.Stored, wanted: ModelConfig, path: Path) -> None:
    """A run is only resumed, and weights only begun with, by the network that they belong to."""
    have = config_of(stored, path).model
    if have != wanted:
        raise InputError(
            f"a checkpoint of another network: {have}",
            expected=f"{wanted}",
            fix="use the config of that network, or train another into another --out without it",
            path=path,
        )


def save_prior(path: Path, classes: NDArray[np.uint8]) -> None:
    """The mean map of the training frames [X, Y, Z]: the baseline that sees nothing."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, semantics=classes)


def read_prior(spec: Path | str) -> NDArray[np.uint8] | None:
    """The mean map beside a checkpoint; None where there is none."""
    path = checkpoint_path(spec)
    path = path / "prior.npz" if path.is_dir() else path.with_name("prior.npz")
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        classes: NDArray[np.uint8] = arrays["semantics"]
    return classes
