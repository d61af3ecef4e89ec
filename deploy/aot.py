"""Builds the graphs of a bundle ahead of time with TensorRT-RTX, for Ampere, on a machine without a GPU.

It proves that NVIDIA's parser and compiler take a graph, not its speed nor its numbers. SM86 is of the family of Orin's
SM87, which TensorRT-RTX does not build for; the engine that runs on an Orin is built there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.errors import InputError
from deploy.bundle_files import verify_bundle


@dataclass(frozen=True)
class Built:
    """errors: what the parser or the compiler said; empty where an engine was built. size: of it (bytes)."""

    graph: str
    parse_s: float
    build_s: float
    size: int
    errors: tuple[str, ...]


def build_bundle(bundle: Path) -> Iterator[Built]:
    """Builds every graph in turn.

    Raises:
        InputError: the bundle is not whole, or TensorRT-RTX is not installed.
    """
    manifest = verify_bundle(bundle)
    for name, graph in manifest.graphs.items():
        yield build(Path(bundle) / graph.file, name)


def build(path: Path, name: str) -> Built:
    """Parses and builds a graph for SM86, strongly typed: every type is the graph's own.

    Raises:
        InputError: TensorRT-RTX is not installed.
    """
    trt = _tensorrt_rtx()
    logger = _errors_of(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    start = time.perf_counter()
    parsed = parser.parse_from_file(str(path))
    parse_s = time.perf_counter() - start
    if not parsed:
        errors = tuple(str(parser.get_error(i)) for i in range(parser.num_errors))
        return Built(name, parse_s, 0.0, 0, errors or ("not parsed",))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    start = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    build_s = time.perf_counter() - start
    if engine is None:
        return Built(name, parse_s, build_s, 0, tuple(logger.errors) or ("no engine, and no reason given",))
    return Built(name, parse_s, build_s, engine.nbytes, ())


def _tensorrt_rtx() -> Any:
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise InputError(
            f"TensorRT-RTX cannot be imported ({error})",
            expected="tensorrt-rtx-cu12, which has wheels for x86-64",
            fix="pip install 'geniedrive[deploy]'",
        ) from error
    return tensorrt_rtx


def _errors_of(trt: Any) -> Any:
    """A logger that keeps errors and drops the rest."""

    class Errors(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Errors()
