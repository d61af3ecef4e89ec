"""From features seen from above to classes of voxels: a trunk over the ground plane, and channels that become heights.

B frames, C channels, I x J = 100 x 100 cells of 2 x 2 voxels, X, Y, Z = 200, 200, 16 voxels, K = 18 classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from perception.backbone import BasicBlock
from perception.types import FREE, GRID, NUM_CLASSES

GROUPS = 8


def grouped(channels: int) -> nn.GroupNorm:
    """Of each frame by itself. What arrives here differs with the sensors that are there; statistics of a batch would
    be those of its sensors, and their running means would fit no case."""
    return nn.GroupNorm(GROUPS, channels)


def mix(given: int, channels: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """Of the channels of a cell: convolution 1 x 1, normalisation, rectifier."""
    return nn.Sequential(nn.Conv2d(given, channels, 1, bias=False), norm(channels), nn.ReLU())


class Trunk(nn.Module):
    """A small U-Net: each cell learns of its surroundings, up to the whole grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle, coarse = channels * 3 // 2, channels * 2
        self.enter = nn.Sequential(grouped(channels), nn.ReLU())
        self.fine = nn.Sequential(_block(channels, channels), _block(channels, channels))
        self.down = nn.Sequential(_block(channels, middle, 2), _block(middle, middle))
        self.deep = nn.Sequential(_block(middle, coarse, 2), _block(coarse, coarse), _block(coarse, coarse))
        self.up = mix(coarse + middle, middle, grouped)
        self.out = mix(middle + channels, channels, grouped)

    def forward(self, x: Float[Tensor, "B C I J"]) -> Float[Tensor, "B C I J"]:
        fine = self.fine(self.enter(x))
        middle = self.down(fine)
        deep = functional.interpolate(self.deep(middle), scale_factor=2.0, mode="nearest")
        middle = self.up(torch.cat([deep, middle], dim=1))
        middle = functional.interpolate(middle, scale_factor=2.0, mode="nearest")
        joined: Tensor = self.out(torch.cat([middle, fine], dim=1))
        return joined


def _block(given: int, width: int, stride: int = 1) -> BasicBlock:
    return BasicBlock(given, width, stride, grouped)


class HeightHead(nn.Module):
    """Cells of the trunk, and what the lidar's fine way brings around it, to logits of each voxel of a column."""

    def __init__(self, channels: int, fine: int, step: int) -> None:
        """step: voxels a side of a cell. fine: channels at full resolution; 0: there are none."""
        super().__init__()
        spread = 2 * fine or channels
        hidden = spread + fine
        self.spread = nn.Sequential(mix(channels, spread * step * step, grouped), nn.PixelShuffle(step))
        self.logits = nn.Sequential(mix(hidden, hidden, grouped), nn.Conv2d(hidden, NUM_CLASSES * GRID.shape[2], 1))

    @torch.no_grad()
    def start_from(self, counts: Int[Tensor, "K Z"]) -> None:
        """Begins with how often each class was seen at each height, so that no step is spent on learning it."""
        bias = self.logits[-1].bias
        assert isinstance(bias, Tensor)
        share = (counts + 1.0) / (counts + 1.0).sum(0, keepdim=True)
        bias.copy_(share.log().flatten())

    @torch.no_grad()
    def shift_free(self, bias: float) -> None:
        """Adds to the logit of free, at every height."""
        last = self.logits[-1].bias
        assert isinstance(last, Tensor)
        last.view(NUM_CLASSES, -1)[FREE] += bias

    def forward(
        self, cells: Float[Tensor, "B C I J"], fine: Float[Tensor, "B F X Y"] | None
    ) -> Float[Tensor, "B K Z X Y"]:
        spread = self.spread(cells)
        joined = spread if fine is None else torch.cat([spread, fine], dim=1)
        logits: Tensor = self.logits(joined)
        return logits.unflatten(1, (NUM_CLASSES, GRID.shape[2]))
