"""Rows: the 16 voxels above a cell as four int32, so that a row is moved whole.

A forecast moves some 240,000 rows a tick and looks into few of them. As bytes they could be moved on a CPU, but
TensorRT computes nothing in uint8; as one int32 a voxel they are four times the memory. Packed they are the same bytes
as uint8 [..., 16] (little endian), and every runtime gathers int32. numpy only; genie/packing.py looks into rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = 4  # int32 a row


def as_rows(voxels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """[..., 16] class ids -> [..., 4]: the same memory if it is contiguous."""
    return np.ascontiguousarray(voxels).view(np.int32)


def as_voxels(rows: NDArray[np.int32]) -> NDArray[np.uint8]:
    """[..., 4] -> [..., 16] class ids: the same memory."""
    return rows.view(np.uint8)
