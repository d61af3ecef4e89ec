"""One demo: what it makes of what, and where it is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class DemoConfig:
    """scenes: how many are made, or used of the user's. seconds: of each that is made. holdout: scenes for the table.
    steps: of training; 0: as many as the preset says.
    """

    scenes: int = 28
    seconds: float = 20.0
    holdout: int = 4
    preset: str = "tiny"
    steps: int = 0
    seed: int = 0
    jobs: int = 2
    parity_ticks: int = 50
    ros_seconds: float = 20.0
    windows_shown: int = 3


@dataclass(frozen=True)
class Demo:
    """dataroot: OUT/data, or the user's. source: "stream" (10 Hz) where there is one, else "occ3d"."""

    out: Path
    dataroot: Path
    synthetic: bool
    source: str
    config: DemoConfig

    @classmethod
    def open(cls, out: Path, dataroot: Path | None, config: DemoConfig) -> Demo:
        """Raises InputError if the user's data root has no labels."""
        if dataroot is None:
            return cls(out, out / "data", True, "stream", config)
        from genie.data.scenes import list_scenes
        from genie.data.stream import list_stream_scenes

        if dataroot.is_dir() and list_stream_scenes(dataroot):
            return cls(out, dataroot, False, "stream", config)
        list_scenes(dataroot, "occ3d")
        return cls(out, dataroot, False, "occ3d", config)

    @property
    def protocol(self) -> str:
        return "stream" if self.source == "stream" else "i2world"

    def overrides(self) -> list[str]:
        """Of the preset. A small data set keeps more of its scenes for training; of a large one the first are taken."""
        from genie.data.scenes import list_scenes

        most = self.config.scenes
        scenes = most if self.synthetic else min(most, len(list_scenes(self.dataroot, self.source)))
        held_out = min(self.config.holdout, max(1, scenes // 4))
        steps = [f"train.steps={self.config.steps}"] if self.config.steps else []
        return [f"train.most_scenes={most}", f"train.holdout_scenes={held_out}", *steps]

    def identity(self) -> dict[str, Any]:
        """What must be equal for a half-finished demo to go on."""
        from genie.config import load_config, to_tree

        tree = to_tree(load_config(self.config.preset, self.overrides()))
        training = {f"{part}.{key}": value for part in ("model", "train") for key, value in tree[part].items()}
        root = None if self.synthetic else str(self.dataroot.resolve())
        # As a file tells it: lists, not tuples.
        identity: dict[str, Any] = json.loads(json.dumps({"dataroot": root, **asdict(self.config), **training}))
        return identity

    def held_out(self) -> list[str]:
        return list(yaml.safe_load((self.out / "run/split.yaml").read_text(encoding="utf-8"))["held_out"])


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The records of metrics.jsonl by step; of a step that a resumed run repeated, the last."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    records = {record["step"]: record for record in map(json.loads, lines)}
    return [records[step] for step in sorted(records)]
