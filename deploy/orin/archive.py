"""A release as one file: a plain tar whose first member lists size and sha256 of all others.

    index.json          this file's `Index`
    app/...             our packages and the ROS 2 workspace, as sources
    bundle/...          manifest and graphs (deploy/spec.py)
    golden.npz          recorded ticks (deploy/golden.py)

The hashes protect from accidents: a truncated copy, a bad disk, a file edited by hand. Who can change a file can change
the index as well; against that helps only the sha256 of the whole archive, told by another way (`flash --sha256`).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.errors import InputError
from calib.files import atomic_path

SCHEMA = 1
INDEX_FILE = "index.json"
MAX_INDEX_BYTES = 1 << 24
BLOCK = 1 << 20
RELEASE = re.compile(r"[0-9a-f]{16}-[a-z]+")  # as Index.release names it
_NAME = re.compile(r"[A-Za-z0-9_+.-]+(/[A-Za-z0-9_+.-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A file: its size in bytes and its sha256 (hex)."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """model: id of the exported model (Manifest.bundle_id). version: of this project. files: by name, without the
    index itself."""

    model: str
    version: str
    files: dict[str, Entry]

    def text(self) -> str:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    def release(self, backend: str) -> str:
        """Name of the release that a target makes of it: equal content has the same, wherever and whenever it was
        packed; for another backend it is another release."""
        return f"{hashlib.sha256(self.text().encode()).hexdigest()[:16]}-{backend}"

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(entry.size for entry in self.files.values())


def write_archive(path: Path, sources: Mapping[str, Path], *, model: str, version: str) -> Index:
    """Packs the files under their names. Equal content gives equal bytes: order, times, owners and modes are fixed.

    Raises:
        InputError: a file that is none, or changed while it was packed.
    """
    files = {name: _entry_of(source) for name, source in sorted(sources.items())}
    index = Index(model, version, files)
    with atomic_path(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            text = index.text().encode()
            tar.addfile(_header(INDEX_FILE, len(text)), io.BytesIO(text))
            for name, entry in files.items():
                with sources[name].open("rb") as file:
                    tar.addfile(_header(name, entry.size), file)
        verify_archive(temporary)
    return index


def verify_archive(path: Path) -> Index:
    """The index, if the archive holds exactly what it lists. Raises InputError as `unpack` does."""
    return unpack(path, None)


def unpack(path: Path, folder: Path | None) -> Index:
    """Checks every member before it is trusted, and writes it under `folder`, which must be new or empty.

    Raises:
        InputError: not such an archive, cut off, or with a member that is a link or device, leads out of the folder, is
            not listed, is there twice, missing, or of another size or sha256. The message names it.
        OSError: the disk is full, or the folder cannot be written.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            return _unpack(tar, path, folder)
    except (tarfile.TarError, EOFError) as error:
        raise _refused(path, f"not a bundle, or one that was cut off ({error})") from error


def verify_folder(folder: Path) -> Index:
    """The index of an unpacked release, if all that it lists is there, unchanged. What was built there is not listed.

    Raises:
        InputError: it is not; the message names the file.
    """
    index_path = folder / INDEX_FILE
    if not index_path.is_file():
        raise _refused(folder, f"{INDEX_FILE} is missing")
    index = _parse(index_path.read_bytes(), index_path)
    for name, entry in index.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise _refused(path, "the file is missing")
        found = _entry_of(path)
        if found != entry:
            raise _refused(path, f"{found.size} bytes with sha256 {found.sha256}", f"{entry.size}, {entry.sha256}")
    return index


def sha256_file(path: Path, length: int | None = None) -> str:
    """sha256 (hex) of the file, or of its first `length` bytes."""
    digest, left = hashlib.sha256(), length
    with path.open("rb") as file:
        while block := file.read(BLOCK if left is None else min(BLOCK, left)):
            digest.update(block)
            left = None if left is None else left - len(block)
    return digest.hexdigest()


def _unpack(tar: tarfile.TarFile, path: Path, folder: Path | None) -> Index:
    first = tar.next()
    if first is None or first.name != INDEX_FILE or not first.isreg() or first.size > MAX_INDEX_BYTES:
        raise _refused(path, f"not a bundle: {INDEX_FILE} does not come first")
    text = _content(tar, first, path)
    index = _parse(text, path)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX_FILE).write_bytes(text)
    left = dict(index.files)
    while (member := tar.next()) is not None:
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise _refused(path, f"{member.name!r} is no regular file (type {member.type!r})", "files alone")
        _check_name(member.name, path)
        entry = left.pop(member.name, None)
        if entry is None:
            raise _refused(path, f"{member.name!r} is not listed in {INDEX_FILE}, or is there twice")
        if member.size != entry.size:
            raise _refused(path, f"{member.name!r} has {member.size} bytes", f"{entry.size}, as listed")
        _take(tar, member, entry, path, None if folder is None else folder / member.name)
    if left:
        raise _refused(path, f"{', '.join(sorted(left)[:5])} missing", f"all of the {len(index.files)} listed files")
    return index


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry, path: Path, to: Path | None) -> None:
    """Hashes a member on its way to the disk. A file never replaces another."""
    content = _content(tar, member, path)
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise _refused(path, f"{member.name!r} has sha256 {found}", f"{entry.sha256}, as listed")
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("xb") as file:
            file.write(content)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    file = tar.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise _refused(path, f"cut off within {member.name!r}")
    return content


def _parse(text: bytes, path: Path) -> Index:
    try:
        tree: dict[str, Any] = json.loads(text)
        schema = tree.pop("schema")
        files = {name: Entry(int(e["size"]), str(e["sha256"])) for name, e in tree.pop("files").items()}
        index = Index(**tree, files=files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(path, f"{INDEX_FILE} cannot be read ({type(error).__name__}: {error})") from error
    if schema != SCHEMA:
        raise _refused(path, f"schema {schema}", f"schema {SCHEMA}")
    for name, entry in files.items():
        _check_name(name, path)
        if not _SHA256.fullmatch(entry.sha256):
            raise _refused(path, f"{name!r} is listed with sha256 {entry.sha256!r}")
    return index


def _check_name(name: str, path: Path) -> None:
    """Plain relative names alone, so that none means something else on the target's disk."""
    if not _NAME.fullmatch(name) or name == INDEX_FILE or {".", ".."} & set(name.split("/")):
        raise _refused(path, f"unsafe name {name!r}", "a plain relative path without '..'")


def _entry_of(path: Path) -> Entry:
    if not path.is_file():
        raise _refused(path, "the file is missing")
    return Entry(path.stat().st_size, sha256_file(path))


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    return header


def _refused(path: Path, found: str, expected: str = "a whole bundle as `geniedrive bundle` wrote it") -> InputError:
    return InputError(
        found, expected=expected, fix="copy it again, or pack it again with `geniedrive bundle`", path=path
    )
