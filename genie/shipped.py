"""Weights that come with the package: trained on synthetic scenes alone (genie/weights/, a model card beside each)."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

SHIPPED = ("edge",)


def checkpoint_path(spec: str | Path) -> Path:
    """Where a checkpoint is: of a name in SHIPPED its file in the package, unless something of that name is there; of
    anything else the path itself."""
    path = Path(spec)
    if str(spec) in SHIPPED and not path.exists():
        return Path(str(resources.files("genie"))) / "weights" / f"{spec}.safetensors"
    return path
