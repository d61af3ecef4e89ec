"""What the sensors have not seen yet: columns outside the observation, decoded once per tick for all horizons.

Shapes: B batch, R invented columns, N tokens, d channels, S static classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genie.border import AROUND, border_rows, read_columns
from genie.columns import invert, local_positions, take_rows
from genie.grid import CELLS, COLUMN_M, COLUMNS, HEIGHT
from genie.ring import ring_table
from perception.types import CLASS_NAMES, FREE, GRID, HORIZONS_S, NUM_CLASSES

PAD = 32  # columns beyond each side of the grid that can be invented: 51 m, three seconds at 17 m/s
EXTENDED = COLUMNS + 2 * PAD
# Only what stands is invented, and nothing that is rarer than it is likely: barriers, cones and others.
STATIC = tuple(range(CLASS_NAMES.index("driveable_surface"), NUM_CLASSES))
GROUND_GOES_ON, STANDING_GOES_ON, FIRST_CLASS = 0, 1, 2  # options; then the static classes in their order
OPTIONS = FIRST_CLASS + len(STATIC)
BLOCKS = 4  # of 2x2 cells in a column
PRIOR_LOGIT = 4.0  # of ground that goes on, before anything is learned
FARTHEST = PAD  # columns out from a border that are told apart
AROUND_CHANNELS = 32  # of each column around a border column
DROPPED = 0.2  # of those, in training


class Invented(NamedTuple):
    """Columns that were decoded.

    chosen: int64 [R], which of the EXTENDED * EXTENDED extended columns, all different.
    classes: int32 [R * 16, 16], class ids: 16 cells a column, 16 heights.
    """

    chosen: Tensor
    classes: Tensor


def choose_columns(trajectory: Float[Tensor, "H 3"], count: int) -> Int[Tensor, " R"]:
    """Extended columns outside the grid that the future grids will show, those needed soonest first."""
    local = local_positions(EXTENDED, trajectory.device) - PAD
    centers = (local + 0.5) * COLUMN_M + GRID.origin[0]
    reach = COLUMN_M - GRID.origin[0]
    outside = ((local < 0) | (local > COLUMNS - 1)).any(dim=-1)
    x, y, yaw = invert(trajectory).unsqueeze(-1).unbind(1)
    along = (torch.cat(turned, dim=1) @ centers.T for turned in ((yaw.cos(), -yaw.sin()), (yaw.sin(), yaw.cos())))
    seen_x, seen_y = ((part + shift).abs() < reach for part, shift in zip(along, (x, y), strict=True))
    seen = seen_x & seen_y
    soonness = torch.arange(len(HORIZONS_S), 0, -1, device=trajectory.device, dtype=torch.float32)
    score = (seen.to(torch.float32) * soonness.unsqueeze(1)).amax(dim=0) * outside.to(torch.float32)
    # Distinct scores: every runtime then breaks ties in the same way.
    rank = torch.arange(EXTENDED * EXTENDED, device=trajectory.device, dtype=torch.float32)
    return torch.topk(score - rank * 2e-5, count, sorted=True).indices


class Invention(nn.Module):
    """Each invented column is told by the border column nearest to it, by its token and those around it, and by the
    column's way out from there. What is around is read once for each border column, of which there are few.

    For each block of 2x2 cells at each height it weighs OPTIONS: the ground in the ring goes on (and all above it is
    free), or what stands there does, or it is one of the static classes.
    """

    def __init__(self, width: int, decoder_width: int) -> None:
        super().__init__()
        self.offset = nn.Sequential(nn.Linear(4, width), nn.GELU(), nn.Linear(width, width))
        self.part = nn.Linear(width, AROUND_CHANNELS)
        context = nn.Linear(AROUND_CHANNELS * len(AROUND), width)
        self.context = nn.Sequential(nn.GELU(), nn.Flatten(2), nn.Dropout(DROPPED), context)
        nn.init.zeros_(context.weight)  # the token at the border itself is learned first
        nn.init.zeros_(context.bias)
        self.norm_hidden = nn.LayerNorm(width)
        self.hidden = nn.Sequential(nn.Linear(width, decoder_width), nn.GELU())
        self.logits = nn.Linear(decoder_width, BLOCKS * HEIGHT * OPTIONS)
        self.forget()

    def forget(self) -> None:
        """Nothing learned: the ground goes on."""
        with torch.no_grad():
            self.logits.weight.zero_()
            self.logits.bias.zero_()
            self.logits.bias.view(-1, OPTIONS)[:, GROUND_GOES_ON] = PRIOR_LOGIT

    def forward(
        self,
        tokens: Float[Tensor, "B N d"],
        side: int,
        position: Int[Tensor, "B R 2"],
        margin: float = 0.0,
    ) -> Float[Tensor, "B R 4 16 O"]:
        """Logits of the options.

        Args:
            position: column coordinates relative to the window's corner; outside it.
            margin: of the ground that goes on: ModelConfig.margin where classes are chosen, so that it takes evidence
                to change it.
        """
        edge = torch.clamp(position, 0, side - 1)
        row = torch.from_numpy(border_rows(side)).to(tokens.device)[(edge[..., 0] * side + edge[..., 1]).long()]
        nearest = take_rows(self._border(tokens, side), row)
        hidden = self.hidden(self.norm_hidden(nearest + self._away(position - edge)))
        kept = torch.zeros(OPTIONS, device=tokens.device, dtype=hidden.dtype)
        kept[GROUND_GOES_ON] = margin
        return self.logits(hidden).unflatten(-1, (BLOCKS, HEIGHT, OPTIONS)) + kept

    def classes(
        self,
        logits: Float[Tensor, "B R 4 16 O"],
        side: int,
        position: Int[Tensor, "B R 2"],
        standing: Int[Tensor, "B G 16 16"],
        ground: Int[Tensor, "B G 16 16"],
        *,
        ground_stays: bool = False,
    ) -> Int[Tensor, "B R 16 16"]:
        """Class ids. ground_stays: ground that goes on does not become other ground, only free."""
        choice = logits.argmax(dim=-1).to(torch.int32)
        static = choice + (STATIC[0] - FIRST_CLASS)
        options = (choice == GROUND_GOES_ON, choice == STANDING_GOES_ON)
        ground_goes_on, standing_goes_on, static = (
            option[:, :, block_of_cell(logits.device)] for option in (*options, static)
        )
        lies, stands = goes_on(position, side, standing, ground)
        if ground_stays:
            ground_goes_on = ground_goes_on | ((static >= STATIC[0]) & (static != FREE) & (lies != FREE))
        return torch.where(ground_goes_on, lies, torch.where(standing_goes_on, stands, static))

    def _border(self, tokens: Float[Tensor, "B N d"], side: int) -> Float[Tensor, "B E d"]:
        """What each border column and those around it tell."""
        columns, place = (torch.from_numpy(index).to(tokens.device) for index in read_columns(side))
        read = tokens[:, columns]
        parts = self.part(read)[:, place.reshape(-1)].unflatten(1, tuple(place.shape))
        told: Tensor = read[:, place[:, 0]] + self.context(parts)
        return told

    def _away(self, away: Int[Tensor, "B R 2"]) -> Float[Tensor, "B R d"]:
        """What the way out from the border says: a table over all ways, which an export computes once."""
        axis = torch.arange(-FARTHEST, FARTHEST + 1, dtype=torch.float32, device=away.device) / COLUMNS
        ways = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
        table: Tensor = self.offset(torch.cat([ways, ways.abs()], dim=-1))
        away = away.clamp(-FARTHEST, FARTHEST)
        return table[(away[..., 0] + FARTHEST) * (2 * FARTHEST + 1) + away[..., 1] + FARTHEST]


def block_of_cell(device: torch.device) -> Int[Tensor, " 16"]:
    """The block of 2x2 cells that each cell of a column is in."""
    i, j = np.divmod(np.arange(CELLS * CELLS), CELLS)
    return torch.from_numpy(i // 2 * 2 + j // 2).to(device)


class GoesOn(NamedTuple):
    """What invented columns show if ground, or what stands, goes on."""

    ground: Int[Tensor, "B R 16 16"]
    standing: Int[Tensor, "B R 16 16"]


def goes_on(
    position: Int[Tensor, "B R 2"], side: int, standing: Int[Tensor, "B G 16 16"], ground: Int[Tensor, "B G 16 16"]
) -> GoesOn:
    """Of columns outside a window, from the ring around it."""
    ring = ring_of(position, side)
    return GoesOn(*(take_rows(part.flatten(2), ring).unflatten(-1, (-1, HEIGHT)) for part in (ground, standing)))


def ring_of(column: Int[Tensor, "... 2"], side: int) -> Int[Tensor, ...]:
    """The ring column that each column outside a window continues; columns relative to its corner."""
    clamped = torch.clamp(column, -1, side) + 1
    table = torch.from_numpy(ring_table(side)).to(column.device)
    flat: Tensor = table[(clamped[..., 0] * (side + 2) + clamped[..., 1]).long()]
    return flat
