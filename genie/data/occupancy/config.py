"""How labels are built from sweeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OccupancyConfig:
    """Defaults are for a 32-beam lidar at 20 Hz.

    level: label the ego frame with yaw alone; else (as Occ3D) the ego frame with the tilt that its pose has.
    reach: points farther from the sensor than this are left out (m).
    cell: static points are merged in world cells of this size (m).
    margin: boxes grow by this on each face before moving things are taken out of the static points (m).
    min_points: static voxels with fewer points are noise.
    min_crossings, max_hit_share: a static voxel is freed that at least so many rays crossed and of whose rays no more
        than this share ended in it.
    before_hit: rays free nothing within this distance of their end (m): they graze the surface that they hit.
    ground_gap: gaps in the ground up to this width are closed (m): the rings of the lidar lie that far apart.
    neighbourhood_s: sweeps this far from the keyframe (s) decide what its lidar observed.
    pixel_stride: between the camera rays of mask_camera (px of an image that is 1600 wide).
    """

    level: bool = False
    reach: float = 70.0
    cell: float = 0.2
    margin: float = 0.15
    min_points: int = 2
    depth: float = 0.2
    min_crossings: int = 8
    max_hit_share: float = 0.2
    before_hit: float = 0.8
    ground_gap: float = 20.0
    neighbourhood_s: float = 0.5
    pixel_stride: int = 8
