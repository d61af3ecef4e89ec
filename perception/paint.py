"""Painted returns: what the images show of each voxel that the lidar struck (after Vora et al., "PointPainting", 2020).

Where the lidar knows that a ray ends, no depth need be guessed: a pixel's features are that voxel's own. At the grid's
own resolution and with the finest features of the images, so that a cone or a bicycle is more than a share of a cell.

B frames, N cameras, P painted channels, X x Y x Z = 200 x 200 x 16 voxels, I x J cells, F channels of the fine way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from calib.transforms import Array
from perception.backbone import Features
from perception.config import ModelConfig
from perception.head import mix
from perception.types import GRID
from perception.voxelize import FEATURES


class Struck(NamedTuple):
    """1 where the lidar had a return, else 0. lifted: of lifted voxels. voxels: of the grid's own, heights first."""

    lifted: Float[Tensor, "B 1 V"]
    voxels: Float[Tensor, "B Z X Y"]


def returned(voxels: UInt8[Tensor, "B F Z X Y"], step: int) -> Struck:
    """step: voxels a side of a lifted voxel."""
    hits = voxels[:, FEATURES.index("hits")].float().clamp(max=1.0)
    largest = functional.max_pool3d(hits.unsqueeze(1), step)  # (B, 1, K, I, J)
    return Struck(largest.permute(0, 1, 3, 4, 2).flatten(2), hits)


class Painted(NamedTuple):
    """For the lidar's fine way, and for the ground plane."""

    fine: Float[Tensor, "B F X Y"]
    cells: Float[Tensor, "B C I J"]


class Painter(nn.Module):
    """Features of images to those of struck voxels, their heights as channels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        painted, fine = config.paint_channels, config.fine_channels
        self.what = nn.Conv2d(2 * config.camera_channels, painted, 1)
        self.where = nn.Conv2d(config.backbone_width, painted, 1)
        self.smooth = nn.Sequential(
            nn.Conv2d(painted, painted, 3, 1, 1, bias=False), nn.BatchNorm2d(painted), nn.ReLU()
        )
        self.columns = mix(painted * GRID.shape[2], fine)
        self.fine = nn.Conv2d(fine, fine, 1)
        self.cells = nn.Sequential(
            nn.PixelUnshuffle(config.lift_step), nn.Conv2d(fine * config.lift_step**2, config.bev_channels, 1)
        )

    def forward(
        self,
        features: Features,
        present: Float[Tensor, "B N"],
        paint: Int[Tensor, " W"],
        struck: Float[Tensor, "B Z X Y"],
    ) -> Painted:
        """
        Args:
            paint: of a LiftTable. struck: of Struck.
        """
        coarse = functional.interpolate(self.what(features.eighth), scale_factor=2.0, mode="nearest")
        pixels = self.smooth(coarse + self.where(features.quarter)).unflatten(0, present.shape)
        columns = self.columns(gather_struck(pixels, present, paint, struck))
        return Painted(self.fine(columns), self.cells(columns))


def gather_struck(
    pixels: Float[Tensor, "B N P h w"],
    present: Float[Tensor, "B N"],
    paint: Int[Tensor, " W"],
    struck: Float[Tensor, "B Z X Y"],
) -> Float[Tensor, "B PZ X Y"]:
    """Of each struck voxel the features of its pixel; zeros where nothing was struck or no camera delivered.

    Gathered for every voxel and then masked, so that shapes are static: nothing is saved where nothing was struck.
    """
    there = pixels * present.to(pixels.dtype)[:, :, None, None, None]
    rows = there.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, N*h*w, P)
    rows = torch.cat([rows, torch.zeros_like(rows[:, :1])], dim=1)
    shown = torch.index_select(rows, 1, paint).unflatten(1, struck.shape[1:])  # (B, Z, X, Y, P)
    shown = shown * struck.to(shown.dtype).unsqueeze(-1)
    return shown.permute(0, 4, 1, 2, 3).flatten(1, 2)


def gather_struck_plain(pixels: Array, present: Array, paint: NDArray[np.int32], struck: Array) -> Array:
    """The twin of `gather_struck` for one frame, voxel by voxel; [P, Z, X, Y].

    Args:
        pixels: [N, P, h, w]. present: [N]. struck: [Z, X, Y].
    """
    cameras, channels, high, wide = pixels.shape
    out = np.zeros((channels, *struck.shape))
    for voxel in np.flatnonzero(struck):
        cell = int(paint[voxel])
        if cell == cameras * high * wide:
            continue
        camera, rest = divmod(cell, high * wide)
        row, column = divmod(rest, wide)
        out[(slice(None), *np.unravel_index(voxel, struck.shape))] = present[camera] * pixels[camera, :, row, column]
    return out
