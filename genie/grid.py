"""The grid as the model sees it: columns of 4x4x16 voxels. numpy-free constants, for the car too."""

from __future__ import annotations

from perception.types import GRID

CELLS = 4  # cells of 0.4 m along a column's side
HEIGHT = GRID.shape[2]
COLUMNS = GRID.shape[0] // CELLS
COLUMN_M = CELLS * GRID.voxel_size
