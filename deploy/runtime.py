"""Runs the exported graphs of a tick. The state stays in the runtime: two sets of buffers that swap after each tick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

from calib.errors import InputError
from deploy.bundle_files import verify_bundle
from deploy.spec import GATE, LINK, NEEDED, REFRESH, STATE_IN, STATE_OUT, TICK, GraphSpec, Manifest, TensorSpec, tick_of
from genie.buckets import START, BucketState, choose_bucket, refresh_due

Array = np.ndarray[Any, Any]
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64"}


class Runtime(Protocol):
    """The graphs of a tick (or the model itself) with their state."""

    def reset(self) -> None:
        """Forgets the stream."""
        ...

    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once and advances the state.

        Args:
            inputs: all that deploy.pipeline.tick_inputs tells, by name.

        Returns:
            rows, trajectory and confidence of the forecast, by name. They may be overwritten by the next tick: copy
            what is kept.
        """
        ...

    def state(self) -> dict[str, Array]:
        """The state after the last tick, by name without prefix; as short-lived as the outputs."""
        ...

    def bucket(self) -> BucketState:
        """Of the last tick; genie.buckets.START before the first, and of the dense form."""
        ...

    def adopt(self, other: Runtime) -> None:
        """Goes on from the state of another runtime of the same form."""
        ...


class OnnxRuntime:
    """ONNX Runtime on the CPU. All buffers are allocated once and bound once. A gated bundle has a graph for each
    bucket, all on the same buffers; the host chooses by one integer of the gate."""

    def __init__(self, bundle: Path, *, threads: int = 2) -> None:
        """
        Raises:
            InputError: the bundle is not whole, or a graph has other inputs or outputs than its manifest.
        """
        self.manifest = manifest = verify_bundle(bundle)
        self._gate = manifest.config.model.gate if GATE in manifest.graphs else None
        sessions = {name: open_session(Path(bundle) / g.file, g, threads) for name, g in manifest.graphs.items()}
        specs = _tensors(manifest)
        self._states = [{name: spec.empty() for name, spec in manifest.state().items()} for _ in range(2)]
        self._buffers = {n: s.empty() for n, s in specs.items() if not n.startswith((STATE_IN, STATE_OUT))}
        produced = {s.name for g in manifest.graphs.values() for s in g.outputs}
        self._inputs = {n: a for n, a in self._buffers.items() if n not in produced and n != REFRESH}
        self._outputs = {n: a for n, a in self._buffers.items() if n in produced and not n.startswith(LINK)}
        self._newest = 0  # which of the two holds the state after the last tick
        self._bound = {
            name: (session, [self._bind(session, manifest.graphs[name], old, 1 - old) for old in range(2)])
            for name, session in sessions.items()
        }
        self._bucket = START

    def reset(self) -> None:
        for buffer in self._states[self._newest].values():
            buffer.fill(0)
        self._bucket = START

    def warm_up(self) -> None:
        """Runs every graph on both sets of buffers: a first run allocates, and must not fall into a drive. Resets."""
        for session, bindings in self._bound.values():
            for binding in bindings:
                session.run_with_iobinding(binding)
        self.reset()

    def tick(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for name, buffer in self._inputs.items():
            given = inputs[name]
            if given.shape != buffer.shape or given.dtype != buffer.dtype:
                raise ValueError(
                    f"{name} is {given.dtype} {given.shape}, the graph wants {buffer.dtype} {buffer.shape}"
                )
            buffer[...] = given
        self._run(TICK if self._gate is None else self._choose())
        self._newest = 1 - self._newest
        return self._outputs

    def state(self) -> dict[str, Array]:
        return self._states[self._newest]

    def bucket(self) -> BucketState:
        return self._bucket

    def adopt(self, other: Runtime) -> None:
        for name, array in other.state().items():
            self._states[self._newest][name][...] = array
        self._bucket = other.bucket()

    def _choose(self) -> str:
        """Runs the gate; the name of the tick that computes as many columns as it asks for."""
        assert self._gate is not None
        dt_s = float(self._buffers["dt"][0])
        self._buffers[REFRESH][0] = refresh_due(self._bucket, dt_s, self._gate)
        self._run(GATE)
        self._bucket = choose_bucket(int(self._buffers[NEEDED][0]), self._bucket, dt_s, self._gate)
        return tick_of(self._bucket.bucket)

    def _run(self, graph: str) -> None:
        session, bindings = self._bound[graph]
        session.run_with_iobinding(bindings[self._newest])

    def _bind(
        self, session: onnxruntime.InferenceSession, graph: GraphSpec, old: int, new: int
    ) -> onnxruntime.IOBinding:
        binding = session.io_binding()
        for spec in graph.inputs:
            array = self._array(spec.name, STATE_IN, self._states[old])
            binding.bind_ortvalue_input(spec.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for spec in graph.outputs:
            array = self._array(spec.name, STATE_OUT, self._states[new])
            binding.bind_ortvalue_output(spec.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        return binding

    def _array(self, name: str, prefix: str, state: dict[str, Array]) -> Array:
        return state[name[len(prefix) :]] if name.startswith(prefix) else self._buffers[name]


def open_session(path: Path, graph: GraphSpec, threads: int) -> onnxruntime.InferenceSession:
    """As every graph of a tick is run.

    Raises:
        InputError: the file has other inputs or outputs than `graph` says.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning thread keeps a core from the rest of the car's software between two ticks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    _check_ends("inputs", session.get_inputs(), graph.inputs, path)
    _check_ends("outputs", session.get_outputs(), graph.outputs, path)
    return session


def _tensors(manifest: Manifest) -> dict[str, TensorSpec]:
    """Every input and output of every graph, by name: a name means the same tensor everywhere."""
    return {s.name: s for graph in manifest.graphs.values() for s in (*graph.inputs, *graph.outputs)}


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
