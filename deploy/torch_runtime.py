"""The model in PyTorch behind the `Runtime` protocol: what every other runtime is compared with. Not for the car."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calib.errors import InputError
from deploy.graph_runtime import Runtime
from deploy.graphs import dense_state, gated_state, graphs_of
from deploy.half import as_carried
from deploy.spec import GATE, NEEDED, OUTPUTS, REFRESH, STATE_IN, STATE_OUT, TICK, WEIGHTS_FILE, Manifest, tick_of
from genie.buckets import START, BucketState, choose_bucket, refresh_due
from genie.model import GenieDrive
from genie.training.checkpoint import load_model

Array = np.ndarray[Any, Any]


class TorchRuntime:
    """See deploy.graph_runtime.Runtime. Runs in torch's own number of threads."""

    def __init__(self, model: GenieDrive, form: str = "gated", most_columns: int | None = None) -> None:
        self.most_columns = most_columns
        self._graphs = {graph.name: graph for graph in graphs_of(model.eval(), form)}
        self._gate = model.config.gate if GATE in self._graphs else None
        self._empty = as_carried(model, gated_state(model.config)) if self._gate else dense_state(model.config)
        self.reset()

    def reset(self) -> None:
        self._state = {STATE_IN + name: torch.zeros_like(tensor) for name, tensor in self._empty.items()}
        self._bucket = START

    @torch.inference_mode()
    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        given = {**{name: torch.from_numpy(array) for name, array in inputs.items()}, **self._state}
        name = TICK
        if self._gate is not None:
            dt_s = float(inputs["dt"][0])
            given[REFRESH] = torch.tensor([float(refresh_due(self._bucket, dt_s, self._gate))])
            given |= self._run(GATE, given)
            self._bucket = choose_bucket(int(given[NEEDED]), self._bucket, dt_s, self._gate, self.most_columns)
            name = tick_of(self._bucket.bucket)
        told = self._run(name, given)
        self._state = {STATE_IN + n[len(STATE_OUT) :]: t for n, t in told.items() if n.startswith(STATE_OUT)}
        return {name: told[name].numpy() for name in OUTPUTS}

    def state(self) -> dict[str, Array]:
        return {name[len(STATE_IN) :]: tensor.numpy() for name, tensor in self._state.items()}

    def bucket(self) -> BucketState:
        return self._bucket

    def adopt(self, other: Runtime) -> None:
        self._state = {STATE_IN + name: torch.from_numpy(array.copy()) for name, array in other.state().items()}
        self._bucket = other.bucket()

    def _run(self, name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        graph = self._graphs[name]
        return dict(zip(graph.outputs, graph.module(*(given[n] for n in graph.inputs)), strict=True))


def weights_digest(model: nn.Module) -> str:
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
