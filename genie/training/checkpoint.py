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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from calib.errors import InputError
from calib.files import atomic_path
from genie.config import Config, ModelConfig, from_tree, to_tree
from genie.model import GenieDrive
from genie.shipped import checkpoint_path

FORMAT = "geniedrive-1"
AVERAGE = "average."


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
    tensors = {f"model.{name}": t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    tensors |= {AVERAGE + name: t.cpu().contiguous() for name, t in (average or {}).items()}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    metadata = {"format": FORMAT, "config": json.dumps(to_tree(config)), "step": str(step)}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=metadata)


def checkpoint_file(path: Path) -> Path:
    """The file of a checkpoint that is named by itself, by its run folder, or as shipped weights.

    Raises:
        InputError: no such file.
    """
    path = checkpoint_path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise InputError(
            "no checkpoint there",
            expected="a model.safetensors, or a run folder that holds one",
            fix="give the folder that `geniedrive train --out` wrote, or resume the run that was cut short",
            path=path,
        )
    return path


def read_checkpoint(path: Path) -> Loaded:
    """Reads a checkpoint of this project, named as for `checkpoint_file`.

    Raises:
        InputError: no such file, not whole, or not ours.
    """
    path = checkpoint_file(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"cannot be read as safetensors ({error})",
            expected="a whole safetensors file",
            fix="train again, or copy the file again",
            path=path,
        ) from error
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"format {metadata.get('format')!r}",
            expected=f"{FORMAT!r} in the metadata",
            fix="use a checkpoint that `geniedrive train` wrote",
            path=path,
        )
    config = from_tree(Config, json.loads(metadata["config"]), path)
    return Loaded(tensors, config, int(metadata["step"]))


def load_model(path: Path) -> tuple[GenieDrive, Config]:
    """The model of a checkpoint, in evaluation mode."""
    loaded = read_checkpoint(path)
    model = GenieDrive(loaded.config.model)
    load_weights(model, loaded, path)
    return model.eval(), loaded.config


def load_weights(model: GenieDrive, loaded: Loaded, path: Path) -> None:
    """Copies weights; every name and shape must fit."""
    weights = {name[len("model.") :]: t for name, t in loaded.tensors.items() if name.startswith("model.")}
    expected = model.state_dict()
    for name in sorted(set(weights) ^ set(expected)):
        where = "the file" if name in weights else "the model"
        raise InputError(
            f"weight {name!r} is only in {where}",
            expected="the weights of this version's model",
            fix="train again with this version, or check out the version that wrote it",
            path=path,
        )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"weight {name!r} is {list(tensor.shape)}",
                expected=f"{list(expected[name].shape)}",
                fix="the config does not belong to these weights",
                path=path,
            )
    model.load_state_dict(weights)


def load_optimizer(optimizer: torch.optim.Optimizer, loaded: Loaded) -> None:
    """Restores moments and counters saved by `save_checkpoint`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in loaded.tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def check_same_model(loaded: Loaded, wanted: ModelConfig, path: Path) -> None:
    """A run can only be resumed with the model that began it."""
    if loaded.config.model == wanted:
        return
    have, want = to_tree(loaded.config.model), to_tree(wanted)
    differing = ", ".join(f"{k}: {have[k]} there, {want[k]} here" for k in have if have[k] != want[k])
    raise InputError(
        f"a checkpoint of another config ({differing})",
        expected="the model config that began the run",
        fix="resume with the config of the run folder, or train into another --out",
        path=path,
    )
