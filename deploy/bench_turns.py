"""Graphs timed one by one, in turns: each runs once a round, so that a slower moment of the machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import onnxruntime

from deploy.export import write_graph
from deploy.graphs import Graph
from deploy.runtime import open_session

WARM_ROUNDS = 2  # not counted: memory is allocated in them


class TimedGraph:
    """An exported graph in a session as on the car; inputs and outputs are bound once."""

    def __init__(self, graph: Graph, folder: Path, threads: int) -> None:
        spec = write_graph(graph, folder)
        self.path = folder / spec.file
        self._session = open_session(self.path, spec, threads)
        self._binding = self._session.io_binding()
        # What is bound must live as long as the binding.
        self._inputs = {s.name: graph.inputs[s.name].contiguous().numpy().copy() for s in spec.inputs}
        self.outputs = {s.name: s.empty() for s in spec.outputs}
        for name, array in self._inputs.items():
            self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name, array in self.outputs.items():
            self._binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)


def in_turns(
    graphs: Mapping[str, TimedGraph], rounds: int, *, on_round: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Milliseconds of each run, by name."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for turn in range(WARM_ROUNDS + rounds):
        for name, graph in graphs.items():
            start = time.perf_counter()
            graph.run()
            ms = (time.perf_counter() - start) * 1e3
            if turn >= WARM_ROUNDS:
                times[name].append(ms)
        on_round()
    return times
