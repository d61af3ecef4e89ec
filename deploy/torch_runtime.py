"""The model in PyTorch behind the `Runtime` protocol: what every other runtime is compared with. Not for the car."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calib.errors import InputError
from deploy.spec import STATE_IN, WEIGHTS_FILE, Manifest
from deploy.tick import OUTPUTS, Tick, example_inputs, flatten_state, state_names
from genie.model import GenieDrive
from genie.state import empty_state
from genie.training.checkpoint import load_model

Array = np.ndarray[Any, Any]


class TorchRuntime:
    """See deploy.runtime.Runtime. Runs in torch's own number of threads."""

    def __init__(self, model: GenieDrive) -> None:
        self._tick = Tick(model.eval())
        self._config = model.config
        self._names = tuple(example_inputs(self._config))
        self.reset()

    def reset(self) -> None:
        self._state = dict(zip(state_names(self._config), flatten_state(empty_state(self._config)), strict=True))

    @torch.inference_mode()
    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        state = {STATE_IN + name: tensor for name, tensor in self._state.items()}
        given = {**{name: torch.from_numpy(array) for name, array in inputs.items()}, **state}
        out = self._tick(*(given[name] for name in self._names))
        self._state = dict(zip(self._state, out[len(OUTPUTS) :], strict=True))
        return {name: tensor.numpy() for name, tensor in zip(OUTPUTS, out[: len(OUTPUTS)], strict=True)}

    def state(self) -> dict[str, Array]:
        return {name: tensor.numpy() for name, tensor in self._state.items()}


def weights_digest(model: GenieDrive) -> str:
    """sha256 (hex) over names, types, shapes and bytes of all weights. Equal weights in another file have the same:
    safetensors does not promise equal bytes for equal content."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def bundled_model(bundle: Path, manifest: Manifest) -> GenieDrive:
    """The model that a bundle was exported from.

    Raises:
        InputError: its weights are missing or are not those that the manifest names.
    """
    path = Path(bundle) / WEIGHTS_FILE
    model, _ = load_model(path)
    found = weights_digest(model)
    if found != manifest.weights_sha256:
        raise InputError(
            f"weights with sha256 {found}",
            expected=f"sha256 {manifest.weights_sha256}, as the manifest says",
            fix="copy the whole export again, or export again",
            path=path,
        )
    return model
