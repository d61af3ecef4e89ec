"""What the sensors have not seen yet: columns outside the observation, decoded once per tick for all horizons.

Shapes: B batch, R invented columns, N tokens, d channels, S static classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genie.attention import Attention, Places, places
from genie.columns import CELLS, COLUMN_M, COLUMNS, HEIGHT, invert, local_positions, take_rows, transform
from genie.tokenizer import ColumnTokenizer
from perception.types import FREE, GRID, GROUND, HORIZONS_S, MOVABLE, NUM_CLASSES

PAD = 32  # columns beyond each side of the grid that can be invented: 51 m, three seconds at 17 m/s
EXTENDED = COLUMNS + 2 * PAD
STATIC = tuple(c for c in range(NUM_CLASSES) if c not in MOVABLE)  # only what stands is invented
PRIOR_LOGIT = 4.0
MARGIN = 1.0  # the copied class stays unless another is e times as likely: it takes evidence to change it


class Invented(NamedTuple):
    """Columns that were decoded.

    slot: int64 [EXTENDED * EXTENDED], the row of each extended column in `classes`, or -1.
    classes: int64 [R * 16, 16], class ids: 16 cells a column, 16 heights.
    """

    slot: Tensor
    classes: Tensor


def choose_columns(trajectory: Float[Tensor, "H 3"], count: int) -> Int[Tensor, " R"]:
    """Extended columns outside the grid that the future grids will show, those needed soonest first."""
    local = local_positions(EXTENDED, trajectory.device) - PAD
    centers = (local + 0.5) * COLUMN_M + GRID.origin[0]
    half = -GRID.origin[0]
    outside = ((local < 0) | (local > COLUMNS - 1)).any(dim=-1)
    future_from_now = invert(trajectory)
    seen = (transform(future_from_now.unsqueeze(1), centers.unsqueeze(0)).abs() < half + COLUMN_M).all(dim=-1)
    soonness = torch.arange(len(HORIZONS_S), 0, -1, device=trajectory.device, dtype=torch.float32)
    score = (seen.to(torch.float32) * soonness.unsqueeze(1)).amax(dim=0) * outside.to(torch.float32)
    # Distinct scores: every runtime then breaks ties in the same way.
    rank = torch.arange(EXTENDED * EXTENDED, device=trajectory.device, dtype=torch.float32)
    return torch.topk(score - rank * 2e-5, count, sorted=True).indices


def continue_border(
    standing: Int[Tensor, "B M 16"], position: Int[Tensor, "B R 2"], side: int
) -> Int[Tensor, "B R 16 16"]:
    """Columns outside a window of `side` columns, if its border cells went on outwards.

    Args:
        standing: class ids of the window's cells (M = (4 * side) ** 2), nothing movable in them.
        position: column coordinates relative to the window's corner.
    """
    cells = side * CELLS
    within = torch.arange(CELLS * CELLS, device=position.device)
    x = position[..., 0].unsqueeze(-1) * CELLS + torch.div(within, CELLS, rounding_mode="floor")
    y = position[..., 1].unsqueeze(-1) * CELLS + within % CELLS
    nearest = x.clamp(0, cells - 1) * cells + y.clamp(0, cells - 1)
    return take_rows(standing, nearest.flatten(1)).unflatten(1, (-1, CELLS * CELLS))


def one_hot(classes: Int[Tensor, "B R 16 16"], of: Int[Tensor, " S"]) -> Float[Tensor, "B R 256 S"]:
    return torch.eq(classes.flatten(2).unsqueeze(-1), of).to(torch.float32)


class Invention(nn.Module):
    """Each invented column asks the tokens, starting from the nearest border column and the ground copied there.

    What stands there goes on as far as it is trusted to: a trust per column and class, learned from nothing.
    """

    static: Tensor
    ground: Tensor

    def __init__(self, width: int, heads: int, decoder_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.offset = nn.Sequential(nn.Linear(4, width), nn.GELU(), nn.Linear(width, width))
        self.norm_query = nn.LayerNorm(width)
        self.norm_tokens = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_hidden = nn.LayerNorm(width)
        self.hidden = nn.Sequential(nn.Linear(width, decoder_width), nn.GELU())
        self.logits = nn.Linear(decoder_width, CELLS * CELLS * HEIGHT * len(STATIC))
        self.trust = nn.Linear(decoder_width, len(STATIC))
        for layer in (self.logits, self.trust):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("static", torch.tensor(STATIC), persistent=False)
        self.register_buffer("ground", torch.tensor([c in GROUND for c in range(NUM_CLASSES)]), persistent=False)

    def forward(
        self,
        tokens: Float[Tensor, "B N d"],
        place: Places,
        side: int,
        position: Float[Tensor, "B R 2"],
        border: Int[Tensor, "B R 16 16"],
        tokenizer: ColumnTokenizer,
    ) -> Float[Tensor, "B R 256 S"]:
        """Logits over the static classes.

        Args:
            position: column coordinates relative to the window's corner; outside it.
            border: class ids that `continue_border` gives. The ground in it is the prior, and what is left without
                learning.
        """
        edge = torch.clamp(position, 0, side - 1)
        nearest = take_rows(tokens, (edge[..., 0] * side + edge[..., 1]).long())
        away = (position - edge) / COLUMNS
        query = nearest + tokenizer.voxels(border) + self.offset(torch.cat([away, away.abs()], dim=-1))
        width = tokens.shape[-1] // self.heads
        read = self.attention.cache(self.norm_tokens(tokens))
        # The reach is counted from the border: however far out a column is, it reads what is nearest to it.
        query_place = places(position, width)._replace(xy=edge)
        query = query + self.attention(self.norm_query(query), query_place, read, place)
        hidden = self.hidden(self.norm_hidden(query))
        residual = self.logits(hidden).unflatten(-1, (-1, len(STATIC)))
        goes_on = one_hot(border, self.static) * self.trust(hidden).unsqueeze(-2)
        return residual + goes_on + self.copied(border) * PRIOR_LOGIT

    def copied(self, border: Int[Tensor, "B R 16 16"]) -> Float[Tensor, "B R 256 S"]:
        """The ground in the border, free elsewhere, one hot."""
        return one_hot(torch.where(self.ground[border.long()], border, FREE), self.static)

    def classes(self, logits: Float[Tensor, "B R 256 S"], border: Int[Tensor, "B R 16 16"]) -> Int[Tensor, "B R 256"]:
        return self.static[(logits + self.copied(border) * MARGIN).argmax(dim=-1)]
