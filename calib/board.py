"""Calibration boards, ChArUco or checkerboard, and where an image shows their corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import Array

Kind = Literal["charuco", "checkerboard"]
MARKER_SHARE = 0.75  # of a ChArUco square's side
DICTIONARY = cv2.aruco.DICT_5X5_250
WINDOW = 0.1  # of the squares' spacing: wider, the markers' own corners come into a corner's window
MIN_CORNERS = 8  # of a view that says anything: four define a homography, and nothing checks them


@dataclass(frozen=True)
class Board:
    """kind, squares along x and y, side of a square (m). The frame: origin at the outer corner of the first square, x
    along the columns, y along the rows, z into the board."""

    kind: Kind
    squares: tuple[int, int]
    square: float

    def __post_init__(self) -> None:
        if min(self.squares) < 3 or self.squares[0] == self.squares[1]:
            raise InputError(
                f"a board of {self.squares[0]}x{self.squares[1]} squares",
                expected="3 or more each way, and not as many both ways (a square board has no upright)",
                fix="count the squares, not the inner corners, and give --squares COLUMNSxROWS",
            )
        if not 0.005 <= self.square <= 1.0:
            raise InputError(
                f"squares of {self.square:g} m", expected="0.005 to 1 m", fix="measure one and give --square-size"
            )

    @property
    def extent(self) -> tuple[float, float]:
        """m along x and y."""
        return self.squares[0] * self.square, self.squares[1] * self.square

    @property
    def corners(self) -> Array:
        """All inner corners [n, 3] (m) in the order of their ids, row by row."""
        x, y = np.meshgrid(np.arange(1, self.squares[0]), np.arange(1, self.squares[1]))
        flat = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
        return flat * self.square

    @property
    def outline(self) -> Array:
        """Its four outer corners [4, 3] (m), round about."""
        width, height = self.extent
        return np.array([[0, 0, 0], [width, 0, 0], [width, height, 0], [0, height, 0]], dtype=np.float64)

    def picture(self, pixels_per_square: int) -> NDArray[np.uint8]:
        """To be printed: grey [rows * n, columns * n], without a margin."""
        width, height = (n * pixels_per_square for n in self.squares)
        if self.kind == "charuco":
            return np.asarray(self._charuco().generateImage((width, height)), dtype=np.uint8)
        y, x = np.mgrid[:height, :width] // pixels_per_square
        return np.where((x + y) % 2 == 0, 0, 255).astype(np.uint8)

    def _charuco(self) -> cv2.aruco.CharucoBoard:
        dictionary = cv2.aruco.getPredefinedDictionary(DICTIONARY)
        return cv2.aruco.CharucoBoard(self.squares, self.square, self.square * MARKER_SHARE, dictionary)


class Corners(NamedTuple):
    """Corners of a board in an image: ids [n] into `Board.corners`, pixels [n, 2]."""

    ids: NDArray[np.int64]
    pixels: Array


def find_corners(board: Board, image: NDArray[np.uint8]) -> Corners | None:
    """Of a BGR image, to a fraction of a pixel; None where fewer than MIN_CORNERS are seen.

    A checkerboard's may begin at either end: turned by half, its corners and outline are the same.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    if board.kind == "charuco":
        return _find_charuco(board, grey)
    size = (board.squares[0] - 1, board.squares[1] - 1)
    flags = cv2.CALIB_CB_ACCURACY | cv2.CALIB_CB_NORMALIZE_IMAGE
    found, pixels = cv2.findChessboardCornersSB(grey, size, flags=flags)
    if not found or len(pixels) < MIN_CORNERS:
        return None
    return Corners(np.arange(len(pixels)), pixels.reshape(-1, 2).astype(np.float64))


def _find_charuco(board: Board, grey: NDArray[np.uint8]) -> Corners | None:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.CharucoDetector(board._charuco(), detectorParams=parameters)
    pixels, ids, _, _ = detector.detectBoard(grey)
    if ids is None or len(ids) < MIN_CORNERS:
        return None
    which = np.asarray(ids, dtype=np.int64).ravel()
    rough = np.asarray(pixels, dtype=np.float32).reshape(-1, 2)
    # The detector's own window is small where markers are: refined again, as wide as the squares allow.
    half = int(np.clip(WINDOW * _spacing(board, which, rough), 2, 12))
    done = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 60, 1e-4)
    refined = cv2.cornerSubPix(grey, rough.reshape(-1, 1, 2).copy(), (half, half), (-1, -1), done)
    fine = refined.reshape(-1, 2).astype(np.float64)
    kept = np.linalg.norm(fine - rough, axis=1) < half
    return Corners(which[kept], fine[kept]) if kept.sum() >= MIN_CORNERS else None


def _spacing(board: Board, ids: NDArray[np.int64], pixels: NDArray[np.float32]) -> float:
    """px between neighbours in the image: the least."""
    columns = board.squares[0] - 1
    where = np.full((board.squares[1] - 1) * columns, -1)
    where[ids] = np.arange(len(ids))
    grid = where.reshape(-1, columns)
    pairs = [(grid[:, :-1], grid[:, 1:]), (grid[:-1], grid[1:])]
    steps = [np.linalg.norm(pixels[a[(a >= 0) & (b >= 0)]] - pixels[b[(a >= 0) & (b >= 0)]], axis=1) for a, b in pairs]
    joined = np.concatenate(steps)
    return float(np.percentile(joined, 10)) if len(joined) else 0.0
