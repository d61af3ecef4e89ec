"""Stages that run one after the other, each once: a ledger in the output folder remembers what is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from calib.errors import InputError
from calib.files import write_json

LEDGER = "demo.json"


@dataclass(frozen=True)
class Stage:
    """run returns a headline; show prints more of what the outputs hold, after the run and when it is skipped.

    command: what one would type to do the same by hand.
    outputs: what must be there for the stage to count as done.
    """

    name: str
    command: str
    outputs: tuple[Path, ...]
    run: Callable[[], str]
    show: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Done:
    """A finished stage."""

    name: str
    seconds: float
    headline: str


class Ledger:
    """OUT/demo.json: whose output folder this is, and which stages are done. Written anew after each stage."""

    def __init__(self, folder: Path, identity: dict[str, Any], done: list[Done]) -> None:
        self.folder, self.identity, self.done = folder, identity, done

    @classmethod
    def open(cls, folder: Path, identity: dict[str, Any]) -> Ledger:
        """Claims a new or empty folder, or goes on in one of the same identity.

        Raises:
            InputError: the folder holds something else.
        """
        path = folder / LEDGER
        if not path.is_file():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise InputError(
                    f"something else is there ({LEDGER} is missing)",
                    expected="a new or empty folder, or that of an earlier demo",
                    fix="choose another --out; nothing is written over other files",
                    path=folder,
                )
            ledger = cls(folder, identity, [])
            ledger._write()
            return ledger
        found, done = read_ledger(folder)
        if found != identity:
            differing = sorted(k for k in {*found, *identity} if found.get(k) != identity.get(k))
            raise InputError(
                "a demo of another configuration is there: "
                + "; ".join(f"{k} {found.get(k)!r}, now {identity.get(k)!r}" for k in differing),
                expected="the same options and version as before",
                fix="choose another --out, or remove this folder",
                path=folder,
            )
        return cls(folder, identity, done)

    def find(self, stage: Stage) -> Done | None:
        """The record of a stage that is done and whose outputs are still there."""
        present = all(path.exists() for path in stage.outputs)
        return next((d for d in self.done if d.name == stage.name and present), None)

    def begin(self, stage: Stage, later: Sequence[Stage]) -> None:
        """Forgets the stage and those after it: they rest on what is made anew."""
        names = {s.name for s in (stage, *later)}
        self.done = [d for d in self.done if d.name not in names]
        self._write()

    def finish(self, done: Done) -> None:
        self.done.append(done)
        self._write()

    def _write(self) -> None:
        write_json(self.folder / LEDGER, {"identity": self.identity, "stages": [vars(d) for d in self.done]})


def read_ledger(folder: Path) -> tuple[dict[str, Any], list[Done]]:
    """Identity and finished stages. InputError if the file is not what `Ledger` writes."""
    path = folder / LEDGER
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return dict(value["identity"]), [Done(**entry) for entry in value["stages"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot be read ({error!r})",
            expected="the ledger that `geniedrive demo` wrote",
            fix="choose another --out, or remove this folder",
            path=path,
        ) from error


def run_stages(stages: Sequence[Stage], ledger: Ledger) -> None:
    """Runs what is not done yet; each stage prints its command, its headline and its seconds."""
    console = Console(highlight=False, soft_wrap=True)
    for index, stage in enumerate(stages):
        place = f"[bold]\\[{index + 1}/{len(stages)}] {stage.name}[/bold]"
        done = ledger.find(stage)
        if done is None:
            console.print(f"\n{place}  [dim]{stage.command}[/dim]")
            ledger.begin(stage, stages[index + 1 :])
            start = time.monotonic()
            headline = stage.run()
            done = Done(stage.name, round(time.monotonic() - start, 1), headline)
            ledger.finish(done)
            stage.show()
            console.print(f"[green]{done.headline}[/green]  ({done.seconds:.0f} s)")
        else:
            console.print(f"\n{place}  [dim]done before, in {done.seconds:.0f} s[/dim]")
            stage.show()
            console.print(f"[green]{done.headline}[/green]")
