"""Which release is current, and how to go back. One symlink decides, replaced by one rename.

    PREFIX/releases/ID/          a release, unpacked and verified, with what was built on the target; ID: Index.release
    PREFIX/releases/ID/previous  the release that was current before this one
    PREFIX/releases/ID/trial     there until its health was seen: where to go back to, and whether it was started
    PREFIX/releases/ID.partial/  one that is being copied
    PREFIX/current               symlink to releases/ID

`python -m deploy.orin.releases PREFIX` runs before each start of the service: a release that was started on trial and
never found well (the machine lost its power, the process died) gives way to the one before.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from calib.files import write_text
from deploy.orin.archive import RELEASE

PARTIAL = ".partial"
GOING = ".going"  # being removed; whatever is left of it is nobody's


@dataclass(frozen=True)
class Releases:
    """All changes are renames or single small files: a kill between two of them leaves one state or the other."""

    prefix: Path

    @property
    def current_link(self) -> Path:
        return self.prefix / "current"

    def path(self, release: str) -> Path:
        return self.prefix / "releases" / release

    def partial(self, release: str) -> Path:
        return self.prefix / "releases" / (release + PARTIAL)

    def current(self) -> str | None:
        """Id of the current release; None where there is none."""
        if not self.current_link.is_symlink():
            return None
        name = Path(os.readlink(self.current_link)).name
        return name if RELEASE.fullmatch(name) and self.path(name).is_dir() else None

    def previous(self, release: str) -> str | None:
        """The release before that one; None where there was none, or it is gone."""
        path = self.path(release) / "previous"
        name = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        return name if RELEASE.fullmatch(name) and self.path(name).is_dir() else None

    def switch_on_trial(self, release: str, *, forward: bool) -> None:
        """Makes it current. forward: a newer one, which remembers the current one as its previous."""
        current = self.current()
        if forward and current is not None:
            write_text(self.path(release) / "previous", current + "\n")
        self._write_trial(release, current, started=False)
        self._point_to(release)

    def on_trial(self) -> bool:
        """Whether the current release was never found well."""
        current = self.current()
        return current is not None and self._trial(current).is_file()

    def confirm(self, release: str) -> None:
        self._trial(release).unlink(missing_ok=True)

    def go_back(self) -> str | None:
        """From a release on trial to the one before it; where it was the first, to none. Returns what is current."""
        current = self.current()
        if current is None or not self._trial(current).is_file():
            return current
        back_to: str | None = json.loads(self._trial(current).read_text(encoding="utf-8"))["back_to"]
        if back_to is None or not self.path(back_to).is_dir():
            self.current_link.unlink()
            return None
        self._point_to(back_to)
        return back_to

    def before_start(self) -> str | None:
        """A release on trial may start once. Returns what is to be started."""
        current = self.current()
        if current is None or not self._trial(current).is_file():
            return current
        trial = json.loads(self._trial(current).read_text(encoding="utf-8"))
        if trial["started"]:
            return self.go_back()
        self._write_trial(current, trial["back_to"], started=True)
        return current

    def discard(self, folder: Path) -> None:
        """Removes a folder so that no half of it is ever taken for a release."""
        if folder.exists():
            going = folder.with_name(folder.name + GOING)
            shutil.rmtree(going, ignore_errors=True)
            folder.rename(going)
            shutil.rmtree(going, ignore_errors=True)

    def prune(self, keep: int) -> list[str]:
        """Removes all but the current release and those before it, `keep` in all, and what other copies left."""
        kept: list[str] = []
        release = self.current()
        while release is not None and release not in kept and len(kept) < keep:
            kept.append(release)
            release = self.previous(release)
        gone = [folder for folder in sorted((self.prefix / "releases").iterdir()) if folder.name not in kept]
        for folder in gone:
            self.discard(folder)
        return [folder.name for folder in gone]

    def _trial(self, release: str) -> Path:
        return self.path(release) / "trial"

    def _write_trial(self, release: str, back_to: str | None, *, started: bool) -> None:
        write_text(self._trial(release), json.dumps({"back_to": back_to, "started": started}) + "\n")

    def _point_to(self, release: str) -> None:
        fresh = self.prefix / ".current"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("releases") / release)
        os.sync()  # the release and its marks are on the disk before the link says so
        fresh.replace(self.current_link)
        os.sync()


if __name__ == "__main__":
    print(f"geniedrive: starting release {Releases(Path(sys.argv[1])).before_start()}")
