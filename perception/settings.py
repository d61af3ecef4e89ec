"""Frozen dataclasses from YAML and from `key.sub=value`: how every config of the project is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import yaml

from calib.errors import InputError

T = TypeVar("T")


def override(tree: dict[str, Any], item: str) -> None:
    """Sets `key.sub=value` (the value is YAML) in a tree of dicts, in place.

    Raises:
        InputError: no "=" in it.
    """
    key, separator, value = item.partition("=")
    if not separator:
        raise InputError(
            f"override {item!r} has no '='", expected="key.sub=value, e.g. train.steps=100", fix="write key=value"
        )
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = yaml.safe_load(value)


def from_tree(cls: type[T], tree: dict[str, Any], origin: Path | str) -> T:
    """A frozen dataclass from nested dicts; unknown keys and wrong types are the user's mistakes."""
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in known:
            raise InputError(
                f"unknown key {key!r}", expected=f"one of {', '.join(known)}", fix="remove or rename it", path=origin
            )
        default = _default_of(known[key])
        if dataclasses.is_dataclass(default) and isinstance(value, dict):
            values[key] = from_tree(type(default), value, origin)
        elif isinstance(default, float) and isinstance(value, int | float) and not isinstance(value, bool):
            values[key] = float(value)
        elif isinstance(default, tuple) and isinstance(value, list | tuple):
            values[key] = _numbers(key, value, type(default[0]), origin)
        elif type(value) is type(default):
            values[key] = value
        else:
            raise InputError(
                f"{key} is {value!r} ({type(value).__name__})",
                expected=f"a {type(default).__name__}",
                fix="correct the value; note that YAML reads 1e-3 as text, 1.0e-3 as a number",
                path=origin,
            )
    return cls(**values)


def _numbers(key: str, value: list[Any] | tuple[Any, ...], kind: type, origin: Path | str) -> tuple[Any, ...]:
    allowed = (int, float) if kind is float else (int,)
    if not value or any(type(v) not in allowed for v in value):
        raise InputError(
            f"{key} is {list(value)!r}",
            expected=f"a list of {kind.__name__}s",
            fix="correct the values; note that YAML reads 1e-3 as text, 1.0e-3 as a number",
            path=origin,
        )
    return tuple(kind(v) for v in value)


def _default_of(f: dataclasses.Field[Any]) -> Any:
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
