"""What the commands of calibration share: boards by option, files by name, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from calib.board import Board

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def spread(count: int, wanted: int) -> list[float]:
    """`wanted` indices of `count`, evenly from the first to the last."""
    if wanted >= count:
        return [float(i) for i in range(count)]
    return [i * (count - 1) / max(wanted - 1, 1) for i in range(max(wanted, 1))]


def make_board(kind: Literal["charuco", "checkerboard"], squares: str, square: float) -> Board:
    """Of "9x6"."""
    from calib.board import Board
    from calib.errors import InputError

    parts = squares.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise InputError(f"--squares {squares!r}", expected="COLUMNSxROWS, as 9x6", fix="count the squares each way")
    return Board(kind, (int(parts[0]), int(parts[1])), square)


def find_files(paths: list[Path], endings: tuple[str, ...]) -> list[Path]:
    """Files as given, and those with these endings in folders; sorted."""
    from calib.errors import InputError

    found: list[Path] = []
    for path in paths:
        inside = [p for p in path.iterdir() if p.name.lower().endswith(endings)] if path.is_dir() else [path]
        found += [p for p in inside if p.is_file()]
    if not found:
        raise InputError(
            f"no file in {', '.join(map(str, paths))}", expected=f"files that end in {', '.join(endings)}",
            fix="check the path",
        )  # fmt: skip
    return sorted(found)


def write_png(path: Path, image: object) -> None:
    """Whole or not at all."""
    import cv2
    import numpy as np

    from calib.files import atomic_path

    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), np.asarray(image))
