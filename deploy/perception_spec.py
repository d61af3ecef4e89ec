"""What an exported perception is: its graph, its network and what it is held to. Read on the car: no torch.

FOLDER/perceive.onnx, FOLDER/weights.safetensors, FOLDER/manifest.json. The graph knows no rig: where voxels look is an
input, computed from the rig's file where it runs, so that a new calibration needs no new export.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.errors import InputError
from calib.files import write_text
from deploy.spec import MANIFEST_FILE, GraphSpec, TensorSpec
from perception.config import Config
from perception.settings import from_tree
from perception.types import CLASS_NAMES

KIND, SCHEMA = "perception", "perception-3"
PERCEIVE = "perceive"
LIDAR, IMAGES, PRESENT = "lidar", "images", "present"
INDEX = ("index.cell", "index.near", "index.far", "index.paint")  # of LiftTable; without lidar nothing is painted
SEMANTICS, OCCUPIED = "semantics", "occupied"
_AGAIN = "export again with `geniedrive export perception`"


@dataclass(frozen=True)
class PerceptionLimits:
    """How far a runtime may be from PyTorch.

    differing_voxels: share whose class differs: two classes that are all but equally likely may change places.
    occupied_mean:    mean difference of the probability of being occupied.
    """

    differing_voxels: float = 1e-4
    occupied_mean: float = 1e-4


# Measured with the shipped weights on random inputs, sensors lost in turn: at most 9.8e-5 of the voxels and 1.1e-4 of
# the probability in FP16, 1.1e-2 and 1.6e-2 in INT8. The limits are four times that and more; classes of untrained
# weights are so near to each other that 1.9e-3 of the voxels change in FP16.
LIMITS = {
    "fp32": PerceptionLimits(),
    "fp16": PerceptionLimits(differing_voxels=5e-3, occupied_mean=1e-3),
    "int8": PerceptionLimits(differing_voxels=0.07, occupied_mean=0.07),
}


@dataclass(frozen=True)
class PerceptionManifest:
    """weights_sha256: of the tensors (deploy.torch_runtime.weights_digest). versions: what wrote it. precision: one of
    deploy.spec.PRECISIONS. calibration_sha256: of calibration.json, with int8."""

    graph: GraphSpec
    opset: int
    weights_sha256: str
    config: Config
    step: int
    versions: dict[str, str]
    precision: str = "fp32"
    calibration_sha256: str | None = None
    class_names: tuple[str, ...] = CLASS_NAMES
    limits: PerceptionLimits = PerceptionLimits()
    schema: str = SCHEMA

    @property
    def bundle_id(self) -> str:
        return _digest(self._tree())[:12]

    def write(self, folder: Path) -> None:
        tree = self._tree()
        write_text(folder / MANIFEST_FILE, json.dumps({**tree, "sha256": _digest(tree)}, indent=1) + "\n")

    def _tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return tree


def read_perception_manifest(folder: Path) -> PerceptionManifest:
    """The manifest, if the graph is the one that it describes.

    Raises:
        InputError: no export of a perception, changed since, of another schema or other classes.
    """
    path = Path(folder) / MANIFEST_FILE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        stamped, schema = tree.pop("sha256"), tree["schema"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"no export of a perception ({error})", expected=f"a folder with its {MANIFEST_FILE}", fix=_AGAIN, path=path
        ) from error
    if schema != SCHEMA:
        raise InputError(f"schema {schema}", expected=f"schema {SCHEMA}", fix=_AGAIN, path=path)
    if _digest(tree) != stamped:
        raise InputError("changed since the export", expected=f"sha256 {stamped}", fix=_AGAIN, path=path)
    graph = tree["graph"]
    specs = {
        name: tuple(TensorSpec(s["name"], s["dtype"], tuple(s["shape"])) for s in graph[name])
        for name in ("inputs", "outputs")
    }
    manifest = PerceptionManifest(
        **{
            **tree,
            "graph": GraphSpec(**{**graph, **specs}),
            "config": from_tree(Config, tree["config"], path),
            "class_names": tuple(tree["class_names"]),
            "limits": PerceptionLimits(**tree["limits"]),
        }
    )
    if manifest.class_names != CLASS_NAMES:
        raise InputError(f"classes {manifest.class_names}", expected=f"{CLASS_NAMES}", fix=_AGAIN, path=path)
    _check_file(Path(folder) / manifest.graph.file, manifest.graph.sha256)
    return manifest


def is_perception_export(folder: Path) -> bool:
    """Whether a folder claims to be one; `read_perception_manifest` tells whether it is."""
    try:
        tree = json.loads((Path(folder) / MANIFEST_FILE).read_text(encoding="utf-8"))
        return str(tree["schema"]).startswith(KIND)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_file(path: Path, sha256: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    if found != sha256:
        raise InputError(
            "the file is missing" if found is None else f"sha256 {found}",
            expected=f"sha256 {sha256}, as the manifest says",
            fix="copy the whole export again, or export again",
            path=path,
        )


def _digest(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
