"""Rigs and intrinsics as YAML files. Every error names the file, the key, what was found and what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from calib.errors import InputError
from calib.files import write_text
from calib.rig import COEFFICIENTS, MODELS, Camera, Intrinsics, Lidar, Mount, Rig, intrinsics_tree
from calib.rig_check import validate

SCHEMA = 1
_INTRINSICS = ("model", "size", "focal", "centre", "distortion")
_MOUNT = ("ego_from_sensor", "frequency_hz", "time_offset_s")


def load_rig(path: Path | str) -> Rig:
    """Reads and validates a rig.

    Raises:
        InputError: no such file, not YAML, not of this schema, or a rig that cannot be.
    """
    path = Path(path)
    tree = _read(path)
    _keys(path, "", tree, required=("schema", "name"), optional=("cameras", "lidars"))
    _schema(path, tree["schema"])
    if not isinstance(tree["name"], str) or not tree["name"]:
        raise _bad(path, "name", tree["name"], "the name of the car or rig, a text")
    cameras = []
    for name, entry in _sensors(path, tree, "cameras"):
        key = f"cameras.{name}"
        _keys(path, key, entry, required=(*_INTRINSICS, *_MOUNT[:2]), optional=_MOUNT[2:])
        cameras.append(Camera(name, _intrinsics(path, key, entry), _mount(path, key, entry)))
    lidars = []
    for name, entry in _sensors(path, tree, "lidars"):
        _keys(path, f"lidars.{name}", entry, required=_MOUNT[:2], optional=_MOUNT[2:])
        lidars.append(Lidar(name, _mount(path, f"lidars.{name}", entry)))
    rig = Rig(tree["name"], tuple(cameras), tuple(lidars))
    validate(rig, path)
    return rig


def save_rig(path: Path | str, rig: Rig) -> None:
    """Writes what `load_rig` reads: the same rig, to the last bit.

    Raises:
        InputError: a rig that cannot be.
    """
    validate(rig, path)
    write_text(Path(path), _dump({"schema": SCHEMA, **rig.as_tree()}))


def load_intrinsics(path: Path | str) -> Intrinsics:
    """Reads what `save_intrinsics` wrote.

    Raises:
        InputError: as `load_rig`.
    """
    path = Path(path)
    tree = _read(path)
    _keys(path, "", tree, required=("schema", *_INTRINSICS), optional=("calibration",))
    _schema(path, tree["schema"])
    return _intrinsics(path, "", tree)


def save_intrinsics(path: Path | str, intrinsics: Intrinsics, calibration: dict[str, Any]) -> None:
    """Writes the intrinsics, and how they were come by: plain values that are kept for the reader."""
    write_text(Path(path), _dump({"schema": SCHEMA, **intrinsics_tree(intrinsics), "calibration": calibration}))


def _dump(tree: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=110)
    return text


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError("no such file", expected="a YAML file", fix="check the path", path=path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"not YAML: {' '.join(str(error).split())}", expected="a YAML file", fix="mend the file", path=path
        ) from error
    if not isinstance(tree, dict):
        raise _bad(path, "", tree, "keys with values")
    return tree


def _schema(path: Path, found: Any) -> None:
    if found != SCHEMA or isinstance(found, bool):
        raise _bad(path, "schema", found, f"{SCHEMA}")


def _keys(path: Path, where: str, entry: Any, *, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise _bad(path, where, entry, f"keys: {', '.join((*required, *optional))}")
    for name in required:
        if name not in entry:
            raise _bad(path, _join(where, name), "nothing", "this key", plain=True)
    unknown = [str(name) for name in entry if name not in (*required, *optional)]
    if unknown:
        expected = f"only {', '.join((*required, *optional))}"
        raise _bad(path, _join(where, unknown[0]), "an unknown key", expected, plain=True)


def _sensors(path: Path, tree: dict[str, Any], kind: str) -> list[tuple[str, Any]]:
    group = tree.get(kind) or {}
    if not isinstance(group, dict):
        raise _bad(path, kind, group, "names with sensors")
    for name in group:
        if not isinstance(name, str):
            raise _bad(path, kind, name, "names that are texts")
    return list(group.items())


def _intrinsics(path: Path, key: str, entry: dict[str, Any]) -> Intrinsics:
    model = entry["model"]
    if model not in MODELS:
        raise _bad(path, _join(key, "model"), model, f"one of {', '.join(MODELS)}")
    size = _vector(path, _join(key, "size"), entry["size"], (2,), "width and height, two whole numbers", _is_whole)
    distortion = entry["distortion"]
    counts = COEFFICIENTS[model]
    wanted = f"{' or '.join(map(str, counts))} numbers for {model}"
    return Intrinsics(
        model,
        (int(size[0]), int(size[1])),
        _pair(_vector(path, _join(key, "focal"), entry["focal"], (2,), "fx and fy (px)")),
        _pair(_vector(path, _join(key, "centre"), entry["centre"], (2,), "cx and cy (px)")),
        tuple(_vector(path, _join(key, "distortion"), distortion, counts, wanted)),
    )


def _mount(path: Path, key: str, entry: dict[str, Any]) -> Mount:
    rows, at = entry["ego_from_sensor"], _join(key, "ego_from_sensor")
    if not isinstance(rows, list) or len(rows) != 4:
        raise _bad(path, at, rows, "4 rows of 4 numbers")
    matrix = [_vector(path, f"{at}[{i}]", row, (4,), "4 numbers") for i, row in enumerate(rows)]
    offset = entry.get("time_offset_s", 0.0)
    for name, value in (("frequency_hz", entry["frequency_hz"]), ("time_offset_s", offset)):
        if not _is_number(value):
            raise _bad(path, _join(key, name), value, "a number")
    return Mount(np.array(matrix), float(entry["frequency_hz"]), float(offset))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _vector(
    path: Path,
    key: str,
    value: Any,
    lengths: tuple[int, ...],
    expected: str,
    accepts: Callable[[Any], bool] = _is_number,
) -> list[float]:
    if not isinstance(value, list) or len(value) not in lengths or not all(map(accepts, value)):
        raise _bad(path, key, value, expected)
    return [float(v) for v in value]


def _pair(values: list[float]) -> tuple[float, float]:
    return values[0], values[1]


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _bad(path: Path, key: str, found: Any, expected: str, *, plain: bool = False) -> InputError:
    told = found if plain else repr(found)
    if len(told) > 120:
        told = told[:117] + "..."
    return InputError(
        f"{key or 'the file'}: found {told}", expected=expected, fix="mend this key of the file", path=path
    )
