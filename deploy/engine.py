"""TensorRT engines of a bundle, built on the machine that runs them: `python -m deploy.engine build DIR`.

DIR/NAME.engine        beside NAME.onnx, for each graph
DIR/NAME.engine.json   its stamp (deploy.engine_stamp)
DIR/timing-*.cache     what TensorRT measured while it built: it is not measured again. --timings FOLDER keeps it
                       elsewhere, for the next bundle

The networks are strongly typed: every type is what the ONNX graph says, and no flag changes a precision.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from calib.errors import CheckFailed, InputError
from calib.files import atomic_path
from deploy.bundle_files import sha256_of, verify_bundle
from deploy.engine_stamp import BUILD, Target, check_stamp, expected_stamp
from deploy.runtime_cuda import Gpu, open_gpu
from deploy.spec import GraphSpec, Manifest

if TYPE_CHECKING:
    import tensorrt


@dataclass(frozen=True)
class Built:
    """An engine of a graph. seconds: that the build took; None if an older one was still right."""

    graph: str
    path: Path
    seconds: float | None


def load_tensorrt() -> ModuleType:
    """Raises InputError where there is no TensorRT."""
    try:
        import tensorrt
    except ImportError as error:
        raise InputError(
            f"no TensorRT here ({error})",
            expected="TensorRT 10.3 or newer with its Python module",
            fix="on a Jetson it comes with JetPack (`sudo apt install python3-libnvinfer`); else use --backend ort",
        ) from error
    return tensorrt


def target_of(api: ModuleType, gpu: Gpu) -> Target:
    return Target(gpu=gpu.name, sm=gpu.sm, cuda=gpu.cuda_version, tensorrt=api.__version__)


def build(
    bundle: Path,
    api: ModuleType,
    target: Target,
    *,
    rebuild: bool = False,
    timings: Path | None = None,
    prepare: Callable[[Any], None] = lambda config: None,
    on_graph: Callable[[Built], None] = lambda built: None,
) -> list[Built]:
    """Builds the engine of every graph; one that is there and right is kept.

    Args:
        bundle: folder that `geniedrive export` wrote.
        api: the module tensorrt, or another of the same API.
        target: this machine, as `target_of` tells.
        rebuild: those that are right, too.
        timings: folder of timing caches; None: the bundle's.
        prepare: sets more of the builder's configuration.
        on_graph: called after each.

    Raises:
        InputError: the bundle is not whole.
        CheckFailed: TensorRT does not take a graph.
    """
    manifest, out = verify_bundle(bundle), []
    for name, graph in manifest.graphs.items():
        start, path = time.perf_counter(), engine_path(bundle, graph)
        kept = not rebuild and _is_right(path, manifest, graph, target)
        if not kept:
            plan = build_plan(api, Path(bundle) / graph.file, cache_path(timings or bundle, target), prepare)
            with atomic_path(path) as temporary:
                temporary.write_bytes(plan)
            expected_stamp(manifest, graph, target, sha256_of(path)).write(path)
        out.append(Built(name, path, None if kept else time.perf_counter() - start))
        on_graph(out[-1])
    return out


def build_plan(
    api: ModuleType, onnx: Path, cache: Path, prepare: Callable[[Any], None] = lambda config: None
) -> memoryview:
    """The serialised engine of one graph. What was timed for it is added to `cache`, a file that need not exist.

    Raises:
        CheckFailed: the parser or the builder refuses the graph.
    """
    logger: tensorrt.Logger = api.Logger(api.Logger.ERROR)
    builder: tensorrt.Builder = api.Builder(logger)
    network: tensorrt.INetworkDefinition = builder.create_network(
        1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser: tensorrt.OnnxParser = api.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise CheckFailed(f"TensorRT's parser refuses {onnx.name}: {reasons}")
    config: tensorrt.IBuilderConfig = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)  # fp32 means fp32: TF32 keeps 10 bits of 23
    config.max_aux_streams = 0  # one stream, as it is captured
    config.set_timing_cache(_timings(config, cache), False)
    prepare(config)
    plan: tensorrt.IHostMemory | None = builder.build_serialized_network(network, config)
    if plan is None:
        raise CheckFailed(f"TensorRT builds no engine of {onnx.name}; its log says why")
    with atomic_path(cache) as temporary:
        temporary.write_bytes(config.get_timing_cache().serialize())
    return memoryview(plan)


def _timings(config: tensorrt.IBuilderConfig, cache: Path) -> tensorrt.ITimingCache:
    """Of earlier builds; none where the file is missing or cannot be read, which costs time and no more."""
    earlier: tensorrt.ITimingCache | None = None
    if cache.is_file():
        earlier = config.create_timing_cache(cache.read_bytes())
    return config.create_timing_cache(b"") if earlier is None else earlier


def load_plan(bundle: Path, manifest: Manifest, graph: GraphSpec, target: Target) -> bytes:
    """The serialised engine of a graph, if it was built from that graph for this target.

    Raises:
        InputError: it is missing or was built for something else, which the message names.
    """
    path = engine_path(bundle, graph)
    if not path.is_file():
        raise InputError("no engine there", expected=f"one of {graph.file}", fix=BUILD, path=path)
    check_stamp(path, expected_stamp(manifest, graph, target, sha256_of(path)))
    return path.read_bytes()


def engine_path(bundle: Path, graph: GraphSpec) -> Path:
    return (Path(bundle) / graph.file).with_suffix(".engine")


def cache_path(folder: Path, target: Target) -> Path:
    """Timings hold for one device and version alone."""
    gpu = re.sub(r"[^A-Za-z0-9]+", "_", target.gpu)
    return Path(folder) / f"timing-{gpu}-sm{target.sm}-cuda{target.cuda}-tensorrt{target.tensorrt}.cache"


def _is_right(path: Path, manifest: Manifest, graph: GraphSpec, target: Target) -> bool:
    if not path.is_file():
        return False
    try:
        check_stamp(path, expected_stamp(manifest, graph, target, sha256_of(path)))
    except InputError:
        return False
    return True


def build_here(bundle: Path, *, rebuild: bool = False, timings: Path | None = None) -> list[Built]:
    """As `build`, for this machine, and says what it does.

    Raises:
        InputError: no TensorRT, no GPU, or the bundle is not whole.
        CheckFailed: TensorRT does not take a graph.
    """
    api = load_tensorrt()
    gpu = open_gpu()
    target = target_of(api, gpu)
    print(f"{target.gpu} (SM {target.sm}), TensorRT {target.tensorrt}, CUDA {target.cuda}", flush=True)
    with gpu.current():
        return build(bundle, api, target, rebuild=rebuild, timings=timings, on_graph=_tell)


def _tell(built: Built) -> None:
    how = "kept, it is right" if built.seconds is None else f"built in {built.seconds:.1f} s"
    print(f"{built.path.name}: {how}, {built.path.stat().st_size / 1e6:.1f} MB", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 2 for what was given or is missing here, 1 for a graph that TensorRT refuses."""
    parser = argparse.ArgumentParser(prog="python -m deploy.engine", description="TensorRT engines of a bundle.")
    command = parser.add_subparsers(required=True).add_parser("build", help="builds them on this machine")
    command.add_argument("bundle", type=Path, help="folder that `geniedrive export` wrote")
    command.add_argument("--rebuild", action="store_true", help="also those that are right")
    command.add_argument("--timings", type=Path, help="folder of timing caches that outlives the bundle")
    chosen = parser.parse_args(arguments)
    try:
        build_here(chosen.bundle, rebuild=chosen.rebuild, timings=chosen.timings)
    except InputError as error:
        print(f"deploy.engine: {error}", file=sys.stderr)
        return 2
    except CheckFailed as error:
        print(f"deploy.engine: check failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
