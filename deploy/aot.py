"""Builds the graphs of a bundle ahead of time with TensorRT-RTX, for Ampere, on a machine without a GPU.

It proves that NVIDIA's parser and compiler take a graph, not its speed nor its numbers. SM86 is of the family of Orin's
SM87, which TensorRT-RTX does not build for; the engine that runs on an Orin is built there (`geniedrive build`), by the
same code.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from calib.errors import CheckFailed, InputError
from deploy.bundle_files import verify_bundle
from deploy.engine import build_plan


@dataclass(frozen=True)
class BuiltAhead:
    """seconds: of parsing and building. size: of the engine (bytes). refused: why there is none; None where it is."""

    graph: str
    seconds: float
    size: int
    refused: str | None


def build_ahead(bundle: Path) -> Iterator[BuiltAhead]:
    """Builds every graph in turn, strongly typed. The engines are dropped.

    Raises:
        InputError: the bundle is not whole, or TensorRT-RTX is not installed.
    """
    api, manifest = load_tensorrt_rtx(), verify_bundle(bundle)
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in manifest.graphs.items():
            start, size, refused = time.perf_counter(), 0, None
            try:
                size = build_plan(api, Path(bundle) / graph.file, Path(folder) / "timing.cache", _for_ampere).nbytes
            except CheckFailed as error:
                refused = str(error)
            yield BuiltAhead(name, time.perf_counter() - start, size, refused)


def load_tensorrt_rtx() -> ModuleType:
    """Raises InputError where there is no TensorRT-RTX."""
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise InputError(
            f"no TensorRT-RTX here ({error})",
            expected="tensorrt-rtx-cu12, which has wheels for x86-64",
            fix="pip install 'geniedrive[deploy]'",
        ) from error
    return tensorrt_rtx  # type: ignore[no-any-return]


def _for_ampere(config: Any) -> None:
    config.num_compute_capabilities = 1
    config.set_compute_capability(load_tensorrt_rtx().ComputeCapability.SM86, 0)
