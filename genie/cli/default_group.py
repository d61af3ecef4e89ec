"""A command with variants: `geniedrive train` trains the world model, `geniedrive train perception` something else."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """Without the name of one of its commands, the first one is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # the context is of typer's own click, or of click
        names = self.list_commands(ctx)
        if not args or args[0] not in names:
            args = [names[0], *args]
        return super().parse_args(ctx, args)
