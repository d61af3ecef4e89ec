"""What a runtime of a tick is, and what all of exported graphs have in common.

That is buffers by name and the host's part of the gate. How a graph runs, and where the state lies, is the subclass's:
deploy.runtime (ONNX Runtime), deploy.runtime_trt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from calib.errors import InputError
from deploy.spec import GATE, NEEDED, OUTPUTS, REFRESH, STATE_IN, STATE_OUT, TICK, Manifest, TensorSpec, tick_of
from genie.buckets import START, BucketState, choose_bucket, refresh_due

Array = np.ndarray[Any, Any]


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


class GraphRuntime(ABC):
    """See Runtime for what the methods promise.

    A gated bundle has a graph for each bucket; the host chooses by one integer of the gate. The state is held twice:
    a tick reads one set and writes the other.
    """

    def __init__(self, manifest: Manifest, empty: Callable[[TensorSpec], Array]) -> None:
        """
        Args:
            empty: gives the memory of a buffer that the host writes or reads.
        """
        self.manifest = manifest
        self._gate = manifest.config.model.gate if GATE in manifest.graphs else None
        specs = tensors(manifest)
        produced = {s.name for g in manifest.graphs.values() for s in g.outputs}
        given = [n for n in specs if n not in produced and not n.startswith((STATE_IN, STATE_OUT))]
        read = [n for n in (NEEDED, *OUTPUTS) if n in specs]
        self._host = {name: empty(specs[name]) for name in (*given, *read)}
        self._inputs = {name: self._host[name] for name in given if name != REFRESH}
        self._outputs = {name: self._host[name] for name in OUTPUTS}
        self._most_columns: int | None = None
        self._newest = 0  # which set holds the state after the last tick
        self._bucket = START

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

    def bucket(self) -> BucketState:
        return self._bucket

    def bound(self, most_columns: int | None) -> None:
        """From now on a tick computes so many columns at most (genie.buckets.choose_bucket); None: no bound.

        Raises:
            InputError: the dense form, which computes all of them always.
        """
        if most_columns is not None and self._gate is None:
            raise InputError(
                f"a bound of {most_columns} columns on the dense form",
                expected="a gated bundle",
                fix="export with --form gated, or leave the bound out",
            )
        self._most_columns = most_columns

    def reset(self) -> None:
        self._forget_state()
        self._bucket = START

    def warm_up(self) -> None:
        """Runs every graph on both sets of buffers: a first run allocates, and must not fall into a drive. Resets."""
        for newest in (1, 0):
            self._newest = newest
            for graph in self.manifest.graphs:
                self._run(graph)
        self.reset()

    def _choose(self) -> str:
        """Runs the gate; the name of the tick that computes as many columns as it asks for."""
        assert self._gate is not None
        dt_s = float(self._host["dt"][0])
        self._host[REFRESH][0] = refresh_due(self._bucket, dt_s, self._gate)
        self._run(GATE)
        self._bucket = choose_bucket(int(self._host[NEEDED][0]), self._bucket, dt_s, self._gate, self._most_columns)
        return tick_of(self._bucket.bucket)

    @abstractmethod
    def state(self) -> dict[str, Array]: ...

    @abstractmethod
    def adopt(self, other: Runtime) -> None: ...

    @abstractmethod
    def _run(self, graph: str) -> None:
        """Runs a graph on the newest state; what it tells the host is in `_host` afterwards."""

    @abstractmethod
    def _forget_state(self) -> None:
        """The newest state becomes empty."""


def tensors(manifest: Manifest) -> dict[str, TensorSpec]:
    """Every input and output of every graph, by name: a name means the same tensor everywhere."""
    return {s.name: s for graph in manifest.graphs.values() for s in (*graph.inputs, *graph.outputs)}


def check_ends(what: str, found: Sequence[TensorSpec], specs: Sequence[TensorSpec], path: Path) -> None:
    """Raises InputError unless the inputs or outputs found in `path` are those of the manifest, in their order."""
    if list(found) != list(specs):
        differing = sorted({s.name for s in set(found) ^ set(specs)})
        raise InputError(
            f"{what} differ from the manifest: {', '.join(differing) or 'in their order'}",
            expected="the graph that the manifest describes",
            fix="export again with `geniedrive export`",
            path=path,
        )
