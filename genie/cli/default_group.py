"""A command with variants: `geniedrive train` trains the world model, `geniedrive train perception` something else."""

from __future__ import annotations

import click
from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """Without the name of one of its commands, the first one is meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names = self.list_commands(ctx)
        if not args or args[0] not in names:
            args = [names[0], *args]
        return super().parse_args(ctx, args)
