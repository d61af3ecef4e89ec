"""The two ways a command ends badly: the user's mistake (exit 2) and a failed check (exit 1)."""

from __future__ import annotations

from pathlib import Path


class InputError(Exception):
    """Something the user gave cannot be used. The command line prints it without a traceback and exits with 2.

    Args:
        found: what was found, in the words of the person who has to mend it.
        expected: what was expected instead.
        fix: what to do.
        path: the file or folder in question, if there is one.
    """

    def __init__(self, found: str, *, expected: str, fix: str, path: Path | str | None = None) -> None:
        self.found, self.expected, self.fix = found, expected, fix
        self.path = Path(path) if path is not None else None
        where = f"{self.path}: " if self.path is not None else ""
        super().__init__(f"{where}{found}\n  expected: {expected}\n  to do:    {fix}")


class CheckFailed(Exception):
    """A check that ran and did not pass (parity, an accuracy bound). The command line exits with 1."""
