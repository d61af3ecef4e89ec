"""What an engine was built from, for and with: NAME.engine.json beside each NAME.engine.

An engine runs only where it was built: on that GPU, with that TensorRT and CUDA. One that was made for something else
is refused, and the message names what differs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from calib.errors import InputError
from calib.files import write_json
from deploy.spec import GraphSpec, Manifest

BUILD = "build the engines on this machine with `geniedrive build DIR`"


@dataclass(frozen=True)
class Target:
    """gpu: its name. sm: compute capability, "8.7" for Orin. cuda: version of the driver. tensorrt: version."""

    gpu: str
    sm: str
    cuda: str
    tensorrt: str


@dataclass(frozen=True)
class Stamp:
    """schema: of the bundle. engine_sha256: of the engine's own file."""

    onnx_sha256: str
    gpu: str
    sm: str
    cuda: str
    tensorrt: str
    precision: str
    calibration_sha256: str | None
    schema: int
    engine_sha256: str

    def write(self, engine: Path) -> None:
        write_json(stamp_path(engine), asdict(self))


def expected_stamp(manifest: Manifest, graph: GraphSpec, target: Target, engine_sha256: str) -> Stamp:
    """Of an engine of `graph` that may run on `target`."""
    return Stamp(
        onnx_sha256=graph.sha256,
        **asdict(target),
        precision=manifest.precision,
        calibration_sha256=manifest.calibration_sha256,
        schema=manifest.schema,
        engine_sha256=engine_sha256,
    )


def stamp_path(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def check_stamp(engine: Path, wanted: Stamp) -> None:
    """Raises InputError, with every field that differs, unless the stamp beside `engine` is the wanted one."""
    found = read_stamp(engine)
    differing = [f.name for f in fields(Stamp) if getattr(found, f.name) != getattr(wanted, f.name)]
    if differing:
        raise InputError(
            "the engine was built for something else: "
            + ", ".join(f"{name} {getattr(found, name)}" for name in differing),
            expected=", ".join(f"{name} {getattr(wanted, name)}" for name in differing),
            fix=BUILD,
            path=engine,
        )


def read_stamp(engine: Path) -> Stamp:
    """Raises InputError: there is none, or it is none."""
    path = stamp_path(engine)
    if not path.is_file():
        raise InputError("no stamp there", expected="what an engine was built from, beside it", fix=BUILD, path=path)
    try:
        return Stamp(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"not a stamp ({error})", expected="what the build wrote", fix=BUILD, path=path) from error
