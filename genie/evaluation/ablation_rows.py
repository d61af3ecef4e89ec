"""The rows of an ablation as they come: kept after each, so that a stopped run is taken up where it ended."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.errors import InputError
from calib.files import write_json

NAME = "ablation.json"


@dataclass(frozen=True)
class AblationOf:
    """What the rows are of: rows of something else are not put beside them. weights_sha256: of the checkpoint file.
    ego: as genie.evaluation.rollout.evaluate takes it."""

    weights_sha256: str
    data: str
    source: str
    scenes: tuple[str, ...]
    ego: str = "given"


def ablation_of(checkpoint: Path, dataroot: Path, source: str, scenes: list[str], ego: str) -> AblationOf:
    """checkpoint: the file. dataroot: told by its name alone, as folders move."""
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    return AblationOf(digest, Path(dataroot).resolve().name, source, tuple(scenes), ego)


class AblationRows:
    """`rows`: genie.evaluation.report.to_json of each, by name.

    Raises:
        InputError: rows are there and resume is False; or they are no rows, or of other weights, data or scenes.
    """

    def __init__(self, folder: Path, of: AblationOf, *, resume: bool) -> None:
        self._path, self._of = Path(folder) / NAME, of
        self.rows: dict[str, Any] = self._read(resume) if self._path.exists() else {}

    def add(self, name: str, row: dict[str, Any]) -> None:
        self.rows[name] = row
        write_json(self._path, {"of": asdict(self._of), "rows": self.rows})

    def _read(self, resume: bool) -> dict[str, Any]:
        if not resume:
            raise InputError(
                "rows of an ablation are there",
                expected="a folder without, or --resume",
                fix="add --resume to go on with them, or choose another --out",
                path=self._path,
            )
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
            of, rows = told["of"], dict(told["rows"])
            found = AblationOf(of["weights_sha256"], of["data"], of["source"], tuple(of["scenes"]), of["ego"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"no rows of an ablation: {error}",
                expected=f"{NAME} as this command writes it",
                fix="remove the file, or choose another --out",
                path=self._path,
            ) from None
        for name, value in asdict(self._of).items():
            if value != getattr(found, name):
                raise InputError(
                    f"rows with {name} {getattr(found, name)}",
                    expected=f"{value}, as this run has",
                    fix="choose another --out, or name what those rows are of",
                    path=self._path,
                )
        return rows
