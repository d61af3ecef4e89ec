"""Folders that appear whole, and files that are what the manifest says."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calib.errors import InputError
from deploy.spec import MANIFEST_FILE, Manifest, read_manifest


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def new_export(folder: Path) -> Iterator[Path]:
    """Yields a temporary sibling; it takes the name `folder`, in place of an older export, only if the block succeeds.

    Raises:
        InputError: `folder` holds something else than an export.
    """
    folder = Path(folder).absolute()
    occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and not (folder / MANIFEST_FILE).is_file():
        raise InputError(
            f"something else than an export is there ({MANIFEST_FILE} is missing)",
            expected="a new or empty folder, or an older export",
            fix="choose another --out; nothing is ever written over other files",
            path=folder,
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
        fresh, old = Path(aside) / "new", Path(aside) / "old"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)


def verify_bundle(folder: Path) -> Manifest:
    """The manifest, if the graphs are those that it describes.

    Raises:
        InputError: a file is missing or not what the manifest says; the message names it.
    """
    manifest = read_manifest(folder)
    for graph in manifest.graphs.values():
        path = Path(folder) / graph.file
        found = sha256_of(path) if path.is_file() else None
        if found != graph.sha256:
            raise InputError(
                "the file is missing" if found is None else f"sha256 {found}",
                expected=f"sha256 {graph.sha256}, as the manifest says",
                fix="copy the whole export again, or export again",
                path=path,
            )
    return manifest
