"""The perception network: lidar voxels and camera images in, classes of voxels out.

    see      each sensor by itself, brought into the ground plane
    gather   both there, and the surroundings of each cell
    tell     the class of each voxel

B frames, N cameras, H x W px, F features of Z heights on X x Y voxels, C channels, I x J cells of 2 x 2 voxels.
Lidar, cameras and each single camera may be absent: one network serves lidar alone, cameras alone and both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from perception.backbone import STRIDE, Backbone
from perception.config import CAMERAS, ModelConfig
from perception.head import HeightHead, Trunk, mix
from perception.lift import EVIDENCE, LiftIndex, lift
from perception.lift_table import lifted_grid
from perception.paint import Painter, Struck, returned
from perception.types import GRID
from perception.voxelize import FEATURES


class Inputs(NamedTuple):
    """What the sensors delivered; None: that sensor is not there at all.

    lidar: uint8 [B, F, Z, X, Y] (perception.voxelize). images: float32 [B, N, 3, H, W], normalised, in the order of
    CAMERAS. present: float32 [B, N], 1 where a camera delivered; where it did not its image may hold anything finite.
    lifting: of the rig, the same for all frames.
    """

    lidar: UInt8[Tensor, "B F Z X Y"] | None
    images: Float[Tensor, "B N 3 H W"] | None
    present: Float[Tensor, "B N"] | None
    lifting: LiftIndex | None


class Perceived(NamedTuple):
    """logits: of each voxel. depth: logits of each camera's feature cells over the bins of depth, where there are
    cameras; for the training."""

    logits: Float[Tensor, "B K Z X Y"]
    depth: Float[Tensor, "B N D h w"] | None

    def semantics(self) -> UInt8[Tensor, "B X Y Z"]:
        """The likeliest class of each voxel, in the layout of Occupancy."""
        return self.logits.argmax(1).permute(0, 2, 3, 1).to(torch.uint8)


class Seen(NamedTuple):
    """Of one sensor. cells: in the ground plane. fine: at full resolution, with a lidar. depth: of cameras."""

    cells: Float[Tensor, "B C I J"]
    fine: Float[Tensor, "B c X Y"] | None = None
    depth: Float[Tensor, "B N D h w"] | None = None

    def where(self, given: Tensor) -> Seen:
        """Nothing of a frame [B, ...] for which nothing but zeros was given: a graph always has its inputs, and tells
        by them that a sensor is silent what this network tells by None."""
        there = (given.flatten(1).amax(1) > 0).to(self.cells.dtype)[:, None, None, None]
        return Seen(self.cells * there, None if self.fine is None else self.fine * there, self.depth)


class OccupancyNet(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.lidar = LidarPath(config) if config.lidar else None
        self.camera = CameraPath(config) if config.camera else None
        self.trunk = Trunk(config.bev_channels)
        self.head = HeightHead(config.bev_channels, config.fine_channels if config.lidar else 0, config.lift_step)

    def forward(self, inputs: Inputs) -> Perceived:
        lidar, camera = self.see(inputs)
        cells = self.gather(lidar, camera)
        return self.tell(cells, lidar, camera)

    def see(self, inputs: Inputs) -> tuple[Seen | None, Seen | None]:
        """Each sensor by itself: lidar, cameras. ValueError where none of those that the network has delivered."""
        lidar = camera = None
        if self.lidar is not None and inputs.lidar is not None:
            lidar = self.lidar(inputs.lidar).where(inputs.lidar)
        if self.camera is not None and inputs.images is not None:
            assert inputs.present is not None and inputs.lifting is not None, "images come with present and lifting"
            struck = None if inputs.lidar is None or lidar is None else returned(inputs.lidar, self.config.lift_step)
            camera = self.camera(inputs.images, inputs.present, inputs.lifting, struck).where(inputs.present)
        if lidar is None and camera is None:
            raise ValueError("no input for this network: it needs lidar or images, whichever it was made for")
        return lidar, camera

    def gather(self, lidar: Seen | None, camera: Seen | None) -> Float[Tensor, "B C I J"]:
        """Sums: what is absent adds nothing, and the trunk needs no variant for it."""
        cells = sum(seen.cells for seen in (lidar, camera) if seen is not None)
        assert isinstance(cells, Tensor)
        trunk: Tensor = self.trunk(cells)
        return trunk

    def tell(self, cells: Float[Tensor, "B C I J"], lidar: Seen | None, camera: Seen | None) -> Perceived:
        fines = [seen.fine for seen in (lidar, camera) if seen is not None and seen.fine is not None]
        fine = sum(fines[1:], fines[0]) if fines else None
        if fine is None and self.lidar is not None:
            fine = cells.new_zeros(len(cells), self.config.fine_channels, *GRID.shape[:2])
        return Perceived(self.head(cells, fine), None if camera is None else camera.depth)


class LidarPath(nn.Module):
    """Voxel features, their heights as channels, to cells; and a fine way around the trunk: no voxel is lost."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        given, step = len(FEATURES) * GRID.shape[2], config.lift_step
        self.fine = mix(given, config.fine_channels)
        self.fold = nn.PixelUnshuffle(step)
        self.cells = nn.Sequential(
            mix(given * step * step, 2 * config.bev_channels),
            nn.Conv2d(2 * config.bev_channels, config.bev_channels, 1),
        )

    def forward(self, voxels: UInt8[Tensor, "B F Z X Y"]) -> Seen:
        columns = voxels.flatten(1, 2).float() * (1.0 / 255.0)
        return Seen(self.cells(self.fold(columns)), self.fine(columns))


class CameraPath(nn.Module):
    """Images to features and depth, lifted into voxels, their heights as channels; and where a lidar is there, what the
    images show of each voxel that it struck (perception.paint), lifted and at full resolution."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.channels, self.grid = config.camera_channels, lifted_grid(config.lift_step)
        self.backbone = Backbone(config.backbone_width, 2 * config.camera_channels)
        self.depth = nn.Conv2d(2 * config.camera_channels, config.depth_bins, 1)
        self.features = nn.Conv2d(2 * config.camera_channels, config.camera_channels, 1)
        self.cells = self._fold(config, config.camera_channels + EVIDENCE)
        self.painted = self._fold(config, config.camera_channels) if config.lidar else None
        self.painter = Painter(config) if config.lidar else None

    def _fold(self, config: ModelConfig, channels: int) -> nn.Sequential:
        return nn.Sequential(
            mix(channels * self.grid.shape[2], 2 * config.bev_channels),
            nn.Conv2d(2 * config.bev_channels, config.bev_channels, 1),
        )

    def forward(
        self,
        images: Float[Tensor, "B N 3 H W"],
        present: Float[Tensor, "B N"],
        index: LiftIndex,
        struck: Struck | None = None,
    ) -> Seen:
        """struck: by the lidar; None: there is none."""
        batch, cameras = images.shape[:2]
        features = self.backbone(images.flatten(0, 1))
        seen = features.eighth
        depth = self.depth(seen).unflatten(0, (batch, cameras))
        lifted = lift(self.features(seen).unflatten(0, (batch, cameras)), depth, present, index)
        cells = self.cells(self._columns(lifted.lit))
        if struck is None or self.painted is None or self.painter is None:
            return Seen(cells, depth=depth)
        assert index.paint is not None, "a table of a network with lidar"
        coarse = self.painted(self._columns(lifted.shown * struck.lifted.to(lifted.shown.dtype)))
        painted = self.painter(features, present, index.paint, struck.voxels)
        added = Seen(coarse + painted.cells, painted.fine).where(struck.lifted)
        return Seen(cells + added.cells, added.fine, depth)

    def _columns(self, voxels: Float[Tensor, "B E V"]) -> Float[Tensor, "B EK I J"]:
        return voxels.unflatten(2, self.grid.shape).permute(0, 1, 4, 2, 3).flatten(1, 2)


__all__ = ["CAMERAS", "STRIDE", "Inputs", "OccupancyNet", "Perceived", "Seen"]
