"""Arrays out of .npz files, with errors that name the file. Nothing is unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError


def read_npz(path: Path, keys: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """The arrays `keys`, and those of `optional` that are there.

    Raises:
        InputError: the file is absent, truncated, not an .npz, or lacks one of `keys`.
    """
    if not path.is_file():
        raise InputError(
            "no such file", expected=f"an .npz with {', '.join(keys)}", fix="check the data root", path=path
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive.files]
            found = list(archive.files)
            arrays = {key: archive[key] for key in (*keys, *optional) if key in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise InputError(
            f"cannot be read ({error}); the file is truncated or damaged",
            expected=f"a whole .npz with {', '.join(keys)}",
            fix="delete it and download, copy or make it again",
            path=path,
        ) from error
    if missing:
        raise InputError(
            f"holds {found or 'nothing'} but not {missing}",
            expected=f"the arrays {', '.join(keys)}",
            fix="write the file in the documented layout",
            path=path,
        )
    return arrays


def check_array(array: NDArray[Any], name: str, kind: str, shape: tuple[int, ...], path: Path) -> None:
    """Raises InputError unless `array` has the dtype kind ("i" integers, "f" finite floats) and the shape."""
    wanted = {"i": "integers", "f": "finite floats"}[kind]
    right_kind = np.issubdtype(array.dtype, np.integer if kind == "i" else np.floating)
    if not right_kind or array.shape != shape:
        raise InputError(
            f"{name} is {array.dtype} {list(array.shape)}",
            expected=f"{wanted} {list(shape)}",
            fix="write the file in the documented layout",
            path=path,
        )
    if kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinity", expected=wanted, fix="make the file again", path=path)
