"""What an export is: the manifest beside the graph, and the names that exporter, runtimes and pipeline share.

DIR/*.onnx                state as inputs `state_in.*` and outputs `state_out.*`. Of the dense form: tick.onnx. Of the
                          gated form: gate.onnx, and tick_K.onnx for each bucket of K columns; what the gate tells the
                          ticks are its outputs and their inputs `link.*`
DIR/weights.safetensors   the weights it was made from, for `geniedrive parity`; the car does not need them
DIR/calibration.json      of INT8 alone: which frames its ranges were measured on; the car does not need it
DIR/manifest.json         this file's `Manifest`, with a digest of itself
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calib.errors import InputError
from calib.files import write_text
from genie.config import Config, to_tree
from perception.settings import from_tree
from perception.types import CLASS_NAMES, GRID, HORIZONS_S, VoxelGrid

SCHEMA = 7
FORMS = ("gated", "dense")
PRECISIONS = ("fp32", "fp16", "int8")
TICK, GATE = "tick", "gate"  # names of graphs
WEIGHTS_FILE = "weights.safetensors"
MANIFEST_FILE = "manifest.json"

# The other inputs are named as the fields of ObservedScene, but "rows".
PLAN, PLAN_GIVEN, COMMAND = "plan", "plan_given", "command"
# rows: int32 [H, 200, 200, 4], the same bytes as uint8 voxels [H, 200, 200, 16] (genie/rows.py)
ROWS, TRAJECTORY, CONFIDENCE = "forecast.rows", "forecast.trajectory", "forecast.confidence"
OUTPUTS = (ROWS, TRAJECTORY, CONFIDENCE)
STATE_IN, STATE_OUT, LINK = "state_in.", "state_out.", "link."
REFRESH, NEEDED, ORDER = "refresh", "needed", "link.order"


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output; every shape is static. dtype as numpy names it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def empty(self) -> np.ndarray[Any, Any]:
        return np.zeros(self.shape, np.dtype(self.dtype))

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class ParityLimits:
    """How far a runtime may be from PyTorch over a stream; every runtime and precision of a bundle is held to them.

    state_max:        largest difference of any cached key, value or pose.
    state_mean:       largest mean difference of such a tensor, of the rows about which nothing was decided otherwise.
    decided_otherwise: share of the state's rows about which rounding decided otherwise.
    trajectory_max:   largest difference of a trajectory (m, rad).
    confidence_mean:  mean difference of the confidences.
    differing_voxels: share of forecast voxels of another class. Not zero: a point within rounding of a cell border
                      may fall to either side of it.
    miou_difference:  of the forecasts against the truth, in points.
    more_columns:     that the gate selects where each runs on its own state, as a share of PyTorch's.
    """

    state_max: float = 1e-4
    state_mean: float = 1e-5
    decided_otherwise: float = 1e-3
    trajectory_max: float = 1e-4
    confidence_mean: float = 1e-4
    differing_voxels: float = 2e-5
    miou_difference: float = 0.02
    more_columns: float = 0.01


@dataclass(frozen=True)
class GraphSpec:
    """A graph of a bundle. file: its name in the folder. sha256: of that file. operators: nodes of each kind."""

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: dict[str, int]


def tick_of(bucket: int) -> str:
    """Name of the graph that computes so many columns."""
    return f"{TICK}_{bucket}"


@dataclass(frozen=True)
class Manifest:
    """form: one of FORMS. graphs: by name. weights_sha256: of the tensors, whatever file they lie in
    (deploy.torch_runtime.weights_digest). versions: what wrote it. precision: one of PRECISIONS. calibration_sha256: of
    calibration.json, None where nothing was calibrated. rig_sha256: of the sensor rig's file, None where the bundle
    knows no sensors."""

    form: str
    graphs: dict[str, GraphSpec]
    opset: int
    weights_sha256: str
    config: Config
    step: int
    versions: dict[str, str]
    precision: str = "fp32"
    calibration_sha256: str | None = None
    rig_sha256: str | None = None
    grid: VoxelGrid = GRID
    class_names: tuple[str, ...] = CLASS_NAMES
    horizons_s: tuple[float, ...] = HORIZONS_S
    limits: ParityLimits = ParityLimits()
    schema: int = SCHEMA

    @property
    def nodes(self) -> int:
        """Of all graphs."""
        return sum(sum(graph.operators.values()) for graph in self.graphs.values())

    def state(self) -> dict[str, TensorSpec]:
        """What a stream carries from tick to tick, by name. Not every graph reads all of it: where all columns are
        computed, nobody reads cached keys."""
        specs = (s for graph in self.graphs.values() for s in (*graph.inputs, *graph.outputs))
        return {s.name.partition(".")[2]: s for s in specs if s.name.startswith((STATE_IN, STATE_OUT))}

    @property
    def digest(self) -> str:
        """sha256 (hex) of all of the above."""
        return _digest(self._tree())

    @property
    def bundle_id(self) -> str:
        """Short form of the digest: what a forecast on a topic names as its engine."""
        return self.digest[:12]

    def write(self, folder: Path) -> None:
        tree = self._tree()
        write_text(folder / MANIFEST_FILE, json.dumps({**tree, "sha256": _digest(tree)}, indent=1) + "\n")

    def _tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(json.dumps({**asdict(self), "config": to_tree(self.config)}))
        return tree


def _digest(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export.

    Raises:
        InputError: not an export, changed since, of another schema, or of another grid, classes or horizons.
    """
    path = Path(folder) / MANIFEST_FILE
    again = "export again with `geniedrive export`"
    if not path.is_file():
        raise InputError("no export there", expected=f"a folder with {MANIFEST_FILE}", fix=again, path=folder)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        stamped = tree.pop("sha256")
        schema = tree["schema"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"not a manifest ({type(error).__name__}: {error})", expected="what the export wrote", fix=again, path=path
        ) from error
    if _digest(tree) != stamped:
        raise InputError(
            "changed since the export: its sha256 does not fit", expected=f"sha256 {stamped}", fix=again, path=path
        )
    if schema != SCHEMA:
        raise InputError(f"schema {schema}", expected=f"schema {SCHEMA}", fix=again, path=path)
    manifest = _from_tree(tree, path)
    for name, found, expected in (
        ("grid", manifest.grid, GRID),
        ("class_names", manifest.class_names, CLASS_NAMES),
        ("horizons_s", manifest.horizons_s, HORIZONS_S),
    ):
        if found != expected:
            raise InputError(f"{name} {found}", expected=f"{expected}", fix=again, path=path)
    return manifest


def _from_tree(tree: dict[str, Any], path: Path) -> Manifest:
    grid = tree["grid"]
    return Manifest(
        **{
            **tree,
            "graphs": {name: _graph(graph) for name, graph in tree["graphs"].items()},
            "config": from_tree(Config, tree["config"], path),
            "grid": VoxelGrid(tuple(grid["shape"]), grid["voxel_size"], tuple(grid["origin"])),
            "class_names": tuple(tree["class_names"]),
            "horizons_s": tuple(tree["horizons_s"]),
            "limits": ParityLimits(**tree["limits"]),
        }
    )


def _graph(tree: dict[str, Any]) -> GraphSpec:
    return GraphSpec(**{**tree, "inputs": _specs(tree["inputs"]), "outputs": _specs(tree["outputs"])})


def _specs(rows: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(row["name"], row["dtype"], tuple(row["shape"])) for row in rows)
