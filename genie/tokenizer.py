"""Columns of 4x4x16 voxels as tokens. Shapes: B batch, N tokens, K objects, d channels."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genie.columns import take_rows, to_columns
from genie.grid import CELLS, HEIGHT
from genie.observation import FAST, MEASURED
from perception.types import NUM_CLASSES


class ColumnTokenizer(nn.Module):
    """Class embedding of each voxel, one linear map per column, plus what moves in it."""

    codes: Tensor

    def __init__(self, width: int, class_channels: int) -> None:
        super().__init__()
        # Fixed codes: the linear map behind them is learned, and the backward pass of an embedding over 2.5 million
        # voxels would take a third of a CPU's training time.
        codes = torch.randn(NUM_CLASSES, class_channels, generator=torch.Generator().manual_seed(0))
        self.register_buffer("codes", codes)
        self.columns = nn.Linear(CELLS * CELLS * HEIGHT * class_channels, width)
        self.motion = nn.Linear(5, width)

    def voxels(self, columns: Int[Tensor, "B N 16 16"]) -> Float[Tensor, "B N d"]:
        """Tokens of columns given as class ids [B, N, 4*4 cells, 16 heights]."""
        return self.columns(self.codes[columns.long()].flatten(2))

    def forward(
        self,
        semantics: Int[Tensor, "B X Y Z"],
        object_id: Int[Tensor, "B X Y"],
        objects: Float[Tensor, "B K F"],
    ) -> Float[Tensor, "B N d"]:
        who = to_columns(object_id).amax(dim=2)  # (B, N): 0 or 1 + row
        return self.encode(to_columns(semantics), who, objects)

    def encode(
        self, columns: Int[Tensor, "B N 16 16"], who: Int[Tensor, "B N"], objects: Float[Tensor, "B K F"]
    ) -> Float[Tensor, "B N d"]:
        """Tokens of columns and of the object in each: 0 or 1 + its row."""
        table = nn.functional.pad(objects, (0, 0, 1, 0))  # row 0: nobody
        owner = take_rows(table, who)
        moving = torch.cat([owner[..., MEASURED], owner[..., FAST], (who > 0).to(owner.dtype)[..., None]], dim=-1)
        return self.voxels(columns) + self.motion(moving * 0.1)
