"""`geniedrive data ...`: what a data root holds, and the synthetic nuScenes."""

from __future__ import annotations

import typer

app = typer.Typer(help="Inspect nuScenes data and make synthetic data.", no_args_is_help=True, rich_markup_mode=None)
