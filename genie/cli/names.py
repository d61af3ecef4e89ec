"""Options that take several names."""

from __future__ import annotations


def split_names(names: str | None) -> list[str]:
    """Of "a, b"; none of nothing."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]
