"""Where the cells of moving objects will be: a scatter of those few cells, exact to the cell.

A future cell shows the object cell that its centre comes from under the object's inverse motion. That centre then lies
within the moved (turned) square of the object cell, so it is one of the four cell centres around the square's own
centre: each object cell offers itself to those four, and each of the four is checked exactly. Rotation leaves no holes,
every voxel comes from the observation, and the work is that of the objects' cells, not of the grid.

Shapes: H horizons, K objects, C object cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genie.columns import compose, invert, transform
from perception.types import GRID

SIDE = GRID.shape[0]
CELL_COUNT = SIDE * SIDE
# Half a cell, and a little: a centre on the border between two cells of an object must not fall between them.
HALF = 0.5 + 1e-4


class Landings(NamedTuple):
    """future_cell: int64 [4 * H * C], flat over [H, 40000], or H * 40000 where nothing lands; object_cell: int32, which
    of the C cells lands there. If two objects land in one cell, either may be seen."""

    future_cell: Tensor
    object_cell: Tensor


def landings(
    trajectory: Float[Tensor, "H 3"],
    displacement: Float[Tensor, "H K 3"],
    objects_center: Float[Tensor, "K 2"],
    cells: Int[Tensor, " C"],
    owner: Int[Tensor, " C"],
    moves: Tensor,
) -> Landings:
    """
    Args:
        cells: flat index of each object cell in the present grid. owner: 1 + the object's row. moves: bool [C].
    """
    device = trajectory.device
    horizons, count = trajectory.shape[0], len(cells)
    now_from_unmoved = rigid_poses(displacement, objects_center)
    future_from_unmoved = compose(invert(trajectory).unsqueeze(1), now_from_unmoved)  # (H, K, 3)
    cos, sin = future_from_unmoved[..., 2].cos(), future_from_unmoved[..., 2].sin()
    shift = (future_from_unmoved[..., :2] - GRID.origin[0]) / GRID.voxel_size
    of_owner = torch.cat([cos.unsqueeze(-1), sin.unsqueeze(-1), shift], dim=-1)
    cos, sin, x, y = of_owner[:, (owner - 1).clamp(min=0).long()].unbind(-1)  # (H, C) each
    here = GRID.origin[0] / GRID.voxel_size + 0.5
    i = torch.div(cells, SIDE, rounding_mode="trunc").to(torch.float32) + here
    j = (cells % SIDE).to(torch.float32) + here
    u, v = cos * i - sin * j + x, sin * i + cos * j + y  # the moved centre, in future cells

    corner = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float32, device=device).reshape(4, 2, 1, 1)
    a, b = (torch.floor(w - 0.5) + corner[:, k] for k, w in enumerate((u, v)))  # (4, H, C): the four around it
    du, dv = a + 0.5 - u, b + 0.5 - v
    fits = (cos * du + sin * dv).abs() <= HALF
    fits = fits & ((cos * dv - sin * du).abs() <= HALF)
    fits = fits & moves & (a >= 0) & (a < SIDE) & (b >= 0) & (b < SIDE)
    first = torch.arange(horizons, device=device, dtype=torch.float32).unsqueeze(1) * CELL_COUNT
    place = torch.where(fits, first + a * SIDE + b, horizons * CELL_COUNT)  # exact: below 2 ** 24
    which = torch.arange(count, dtype=torch.int32, device=device).expand(4, horizons, count)
    return Landings(place.long().reshape(-1), which.reshape(-1))


def rigid_poses(displacement: Float[Tensor, "H K 3"], center: Float[Tensor, "K 2"]) -> Float[Tensor, "H K 3"]:
    """Planar poses (x, y, yaw) of "turn about the centre, then shift"."""
    yaw = displacement[..., 2]
    turned = transform(torch.stack([torch.zeros_like(yaw), torch.zeros_like(yaw), yaw], -1), center.unsqueeze(0))
    return torch.cat([center.unsqueeze(0) - turned + displacement[..., :2], yaw.unsqueeze(-1)], dim=-1)
