"""Runs one tick of an exported graph. The state stays in the runtime: two sets of buffers that swap after each tick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

from calib.errors import InputError
from deploy.bundle_files import verify_bundle
from deploy.spec import GRAPH_FILE, STATE_IN, STATE_OUT, TensorSpec

Array = np.ndarray[Any, Any]
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}


class Runtime(Protocol):
    """A graph (or the model itself) with its state."""

    def reset(self) -> None:
        """Forgets the stream."""
        ...

    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once and advances the state.

        Args:
            inputs: all graph inputs but the state, by name.

        Returns:
            all graph outputs but the state, by name. They may be overwritten by the next tick: copy what is kept.
        """
        ...

    def state(self) -> dict[str, Array]:
        """The state after the last tick, by name without prefix; as short-lived as the outputs."""
        ...


class OnnxRuntime:
    """ONNX Runtime on the CPU. All buffers are allocated once and bound once."""

    def __init__(self, bundle: Path, *, threads: int = 2) -> None:
        """
        Raises:
            InputError: the bundle is not whole, or its graph has other inputs or outputs than its manifest.
        """
        self.manifest = manifest = verify_bundle(bundle)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A spinning thread keeps a core from the rest of the car's software between two ticks.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(bundle) / GRAPH_FILE
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        _check_ends("inputs", self._session.get_inputs(), manifest.inputs, path)
        _check_ends("outputs", self._session.get_outputs(), manifest.outputs, path)
        self._inputs = {s.name: s.empty() for s in manifest.inputs if not s.name.startswith(STATE_IN)}
        self._outputs = {s.name: s.empty() for s in manifest.outputs if not s.name.startswith(STATE_OUT)}
        specs = {s.name[len(STATE_IN) :]: s for s in manifest.inputs if s.name.startswith(STATE_IN)}
        self._states = [{name: spec.empty() for name, spec in specs.items()} for _ in range(2)]
        self._newest = 0  # which of the two holds the state after the last tick
        self._bindings = [self._bind(old=0, new=1), self._bind(old=1, new=0)]

    def reset(self) -> None:
        for buffer in self._states[self._newest].values():
            buffer.fill(0)

    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for name, buffer in self._inputs.items():
            given = inputs[name]
            if given.shape != buffer.shape or given.dtype != buffer.dtype:
                raise ValueError(
                    f"{name} is {given.dtype} {given.shape}, the graph wants {buffer.dtype} {buffer.shape}"
                )
            buffer[...] = given
        self._session.run_with_iobinding(self._bindings[self._newest])
        self._newest = 1 - self._newest
        return self._outputs

    def state(self) -> dict[str, Array]:
        return self._states[self._newest]

    def _bind(self, *, old: int, new: int) -> onnxruntime.IOBinding:
        binding = self._session.io_binding()
        reads = {**self._inputs, **{STATE_IN + name: a for name, a in self._states[old].items()}}
        writes = {**self._outputs, **{STATE_OUT + name: a for name, a in self._states[new].items()}}
        for name, array in reads.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name, array in writes.items():
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        return binding


def _check_ends(what: str, nodes: list[Any], specs: tuple[TensorSpec, ...], path: Path) -> None:
    found = tuple(TensorSpec(n.name, _DTYPES.get(n.type, n.type), tuple(n.shape)) for n in nodes)
    if found != specs:
        differing = sorted({s.name for s in set(found) ^ set(specs)})
        raise InputError(
            f"{what} differ from the manifest: {', '.join(differing) or 'in their order'}",
            expected="the graph that the manifest describes",
            fix="export again with `geniedrive export`",
            path=path,
        )
