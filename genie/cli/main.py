"""`geniedrive`: registers the subcommands and turns our errors into exit codes.

Only typer is imported here; each command imports what it needs when it runs, so that `--help` stays fast.
"""

from __future__ import annotations

import os
import sys

import typer

from calib.errors import CheckFailed, InputError
from genie.cli import ablate, bag, bench, calib, data, demo, deployment, evaluate, flashing, ros, train

app = typer.Typer(
    name="geniedrive",
    help="A driving world model, from nuScenes to a ROS 2 topic.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.add_typer(calib.app, name="calib")
for module in (demo, evaluate, ablate, train, deployment, flashing, bench, bag, ros):
    module.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"geniedrive {version('geniedrive')}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show it and exit."),
) -> None:
    """A driving world model, from nuScenes to a ROS 2 topic."""


def main() -> None:
    """Exit 2 for the user's mistake, 1 for a failed check, both without a traceback."""
    # Threads sleep while they wait for each other: spinning, two of them stall as soon as anything else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except InputError as error:
        print(f"geniedrive: {error}", file=sys.stderr)
        sys.exit(2)
    except CheckFailed as error:
        print(f"geniedrive: check failed: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
