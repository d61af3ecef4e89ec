"""Checkpoints as safetensors: nothing in them can run code, a file is whole or absent, and errors say what to do.

What both trainings of the project share; each knows its own config (genie.training.checkpoint, perception.checkpoint).
Names: `model.` weights, `average.` their moving average, `optimizer.INDEX.` its moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from calib.errors import InputError
from calib.files import atomic_path

MODEL, AVERAGE, OPTIMIZER = "model.", "average.", "optimizer."


class Stored(NamedTuple):
    """tensors by name, and what was written beside them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Those of one kind, without the prefix."""
        return {n[len(prefix) :]: t for n, t in self.tensors.items() if n.startswith(prefix)}


def save_tensors(
    path: Path,
    model: nn.Module,
    metadata: dict[str, str],
    optimizer: torch.optim.Optimizer | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Weights, and with `optimizer` and `average` also those; all or nothing."""
    tensors = {MODEL + name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    tensors |= {AVERAGE + name: t.cpu().contiguous() for name, t in (average or {}).items()}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"{OPTIMIZER}{index}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=metadata)


def read_tensors(path: Path, form: str, command: str) -> Stored:
    """
    Args:
        form: what the metadata's "format" must be. command: that writes such a file, for the error.

    Raises:
        InputError: no such file, not whole, or of another format.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise InputError(
            "no checkpoint there",
            expected="a model.safetensors, or a run folder that holds one",
            fix=f"give the folder that `{command} --out` wrote, or resume the run that was cut short",
            path=path,
        )
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
    if metadata.get("format") != form:
        raise InputError(
            f"format {metadata.get('format')!r}",
            expected=f"{form!r} in the metadata",
            fix=f"use a checkpoint that `{command}` wrote",
            path=path,
        )
    return Stored(tensors, dict(metadata))


def load_weights(model: nn.Module, stored: Stored, path: Path) -> None:
    """Copies weights; every name and shape must fit."""
    weights, expected = stored.part(MODEL), model.state_dict()
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


def load_optimizer(optimizer: torch.optim.Optimizer, stored: Stored) -> None:
    """Restores moments and counters saved by `save_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in stored.part(OPTIMIZER).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def claim_run(run: Path, *, leads: bool) -> None:
    """Makes a new run folder; one that holds a run is never overwritten by accident.

    Args:
        leads: whether this process is the one that writes it.

    Raises:
        InputError: the folder is not empty.
    """
    if leads and run.exists() and any(run.iterdir()):
        raise InputError(
            "the run folder is not empty",
            expected="a new or empty folder, or --resume",
            fix="add --resume to go on with that run, or choose another --out",
            path=run,
        )


def checkpoint_to_resume(run: Path) -> Path:
    """
    Raises:
        InputError: the run folder holds no checkpoint.
    """
    checkpoint = run / "checkpoint.safetensors"
    if not checkpoint.is_file():
        raise InputError(
            "nothing to resume: the run folder holds no checkpoint",
            expected=f"{checkpoint.name} in it",
            fix="start afresh without --resume in another --out",
            path=run,
        )
    return checkpoint
