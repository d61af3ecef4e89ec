"""`geniedrive replay` and `geniedrive node`: processes on a ROS 2 graph."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
