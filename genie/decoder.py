"""What the sensors have not seen yet: columns outside the observation, decoded once per tick for all horizons.

Shapes: B batch, R invented columns, N tokens, d channels, S static classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genie.attention import Attention, places
from genie.columns import invert, local_positions, take_rows, transform
from genie.grid import CELLS, COLUMN_M, COLUMNS, HEIGHT
from genie.ring import ring_table
from genie.tokenizer import ColumnTokenizer
from perception.types import CLASS_NAMES, FREE, GRID, GROUND, HORIZONS_S, NUM_CLASSES

PAD = 32  # columns beyond each side of the grid that can be invented: 51 m, three seconds at 17 m/s
EXTENDED = COLUMNS + 2 * PAD
# Only what stands is invented, and nothing that is rarer than it is likely: barriers, cones and others.
STATIC = tuple(range(CLASS_NAMES.index("driveable_surface"), NUM_CLASSES))
PRIOR_LOGIT = 4.0
MARGIN = 1.0  # on the car what is copied stays unless another class is e times as likely


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
    half = -GRID.origin[0]
    outside = ((local < 0) | (local > COLUMNS - 1)).any(dim=-1)
    future_from_now = invert(trajectory)
    seen = (transform(future_from_now.unsqueeze(1), centers.unsqueeze(0)).abs() < half + COLUMN_M).all(dim=-1)
    soonness = torch.arange(len(HORIZONS_S), 0, -1, device=trajectory.device, dtype=torch.float32)
    score = (seen.to(torch.float32) * soonness.unsqueeze(1)).amax(dim=0) * outside.to(torch.float32)
    # Distinct scores: every runtime then breaks ties in the same way.
    rank = torch.arange(EXTENDED * EXTENDED, device=trajectory.device, dtype=torch.float32)
    return torch.topk(score - rank * 2e-5, count, sorted=True).indices


class Invention(nn.Module):
    """Each invented column asks the tokens, starting from the ring column that it continues and the ground in it.

    What stands in the ring goes on as far as it is trusted to: a trust per column and class, learned from nothing.
    """

    rank: Tensor
    copied_rank: Tensor

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
        # By class id: its rank in STATIC, and the rank of what is copied of it (ground; free elsewhere).
        rank = torch.tensor([STATIC.index(c) if c in STATIC else STATIC.index(FREE) for c in range(NUM_CLASSES)])
        copied = torch.tensor([STATIC.index(c if c in GROUND else FREE) for c in range(NUM_CLASSES)])
        self.register_buffer("rank", rank, persistent=False)
        self.register_buffer("copied_rank", copied, persistent=False)

    def forward(
        self,
        tokens: Float[Tensor, "B N d"],
        side: int,
        position: Int[Tensor, "B R 2"],
        ring: Int[Tensor, "B G 16 16"],
        tokenizer: ColumnTokenizer,
        prior: float = PRIOR_LOGIT,
    ) -> Float[Tensor, "B R 256 S"]:
        """Logits over the static classes.

        Args:
            position: column coordinates relative to the window's corner; outside it.
            ring: class ids of what stands in the ring around the window (genie/ring.py). The ground in it is the prior,
                and what is left without learning.
            prior: the logit of what is copied.
        """
        continues = ring_of(position, side)
        hidden = self.hidden(self.norm_hidden(self._ask(tokens, side, position, continues, ring, tokenizer)))
        residual = self.logits(hidden).unflatten(-1, (-1, len(STATIC)))
        return residual + self._carried_on(self.trust(hidden), continues, ring, prior)

    def classes(self, logits: Float[Tensor, "B R 256 S"]) -> Int[Tensor, "B R 256"]:
        return logits.argmax(dim=-1).to(torch.int32) + STATIC[0]

    def copied(
        self, side: int, position: Int[Tensor, "B R 2"], ring: Int[Tensor, "B G 16 16"]
    ) -> Float[Tensor, "B R 256 S"]:
        """The logits without anything learned."""
        trust = torch.zeros(*position.shape[:2], len(STATIC), device=position.device)
        return self._carried_on(trust, ring_of(position, side), ring, PRIOR_LOGIT)

    def _ask(
        self, tokens: Tensor, side: int, position: Tensor, continues: Tensor, ring: Tensor, tokenizer: ColumnTokenizer
    ) -> Float[Tensor, "B R d"]:
        edge = torch.clamp(position, 0, side - 1)
        nearest = take_rows(tokens, edge[..., 0] * side + edge[..., 1])
        away = (position - edge).to(tokens.dtype) / COLUMNS
        query = nearest + take_rows(tokenizer.voxels(ring), continues)
        query = query + self.offset(torch.cat([away, away.abs()], dim=-1))
        head_width = tokens.shape[-1] // self.heads
        asked = read_columns(side, tokens.device)
        read = self.attention.cache(self.norm_tokens(tokens[:, asked]))
        there = places(local_positions(side, tokens.device)[asked].unsqueeze(0), head_width)
        # The reach is counted from the border: however far out a column is, it reads what is nearest to it.
        here = places(position.to(tokens.dtype), head_width)._replace(xy=edge.to(tokens.dtype))
        return query + self.attention(self.norm_query(query), here, read, there)

    def _carried_on(
        self, trust: Float[Tensor, "B R S"], continues: Int[Tensor, "B R"], ring: Tensor, prior: float
    ) -> Float[Tensor, "B R 256 S"]:
        """What the ring's content adds to the logits: a small table per column, looked up by the class in the ring."""
        batch, count, kinds = trust.shape
        table = trust.unsqueeze(-2) * torch.eye(kinds, device=trust.device)  # the class itself is trusted so much,
        copied = nn.functional.one_hot(self.copied_rank[STATIC[0] :], kinds).to(trust.dtype)
        table = table + copied * prior  # and what is copied of it has the prior
        kind = take_rows(self.rank[ring.long()].flatten(2), continues)  # (B, R, 256)
        row = torch.arange(batch * count, device=trust.device).reshape(batch, count, 1) * kinds + kind
        return table.reshape(-1, kinds)[row]


def ring_of(column: Int[Tensor, "... 2"], side: int) -> Int[Tensor, ...]:
    """The ring column that each column outside a window continues; columns relative to its corner."""
    clamped = torch.clamp(column, -1, side) + 1
    table = torch.from_numpy(ring_table(side)).to(column.device)
    flat: Tensor = table[(clamped[..., 0] * (side + 2) + clamped[..., 1]).long()]
    return flat


def read_columns(side: int, device: torch.device) -> Int[Tensor, " A"]:
    """Columns of a window that invention reads: all at the border, every third within. Tokens have read each other."""
    i, j = np.divmod(np.arange(side * side), side)
    border = (i == 0) | (j == 0) | (i == side - 1) | (j == side - 1)
    return torch.from_numpy(np.flatnonzero(border | ((i % 3 == 0) & (j % 3 == 0)))).to(device)
