"""What a synthetic data set is made of. Equal configs give equal bytes."""

from __future__ import annotations

from dataclasses import dataclass

from calib.errors import InputError

STREAM_HZ = 10
DT = 1 / STREAM_HZ  # s, of the simulation too
KEYFRAME_EVERY = 5  # stream frames: 2 Hz


@dataclass(frozen=True)
class SynthConfig:
    """scenes: how many. seconds: of each, rounded down to keyframes. seed: of everything. stream: labels at 10 Hz.

    lidar, cameras: whether their files are written. image_scale: of the images, relative to nuScenes' 1600 x 900.
    camera_sweeps: whether there are images between keyframes (12 Hz); without, 2 Hz: a sixth of the rendering.
    """

    scenes: int
    seconds: float = 20.0
    seed: int = 0
    stream: bool = True
    lidar: bool = False
    cameras: bool = False
    image_scale: float = 1.0
    camera_sweeps: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.scenes <= 9999:
            raise InputError(f"{self.scenes} scenes", expected="1 to 9999", fix="give --scenes a count in that range")
        if not 1.0 <= self.seconds <= 60.0:
            raise InputError(
                f"{self.seconds} seconds per scene",
                expected="1 to 60",
                fix="give --seconds in that range (nuScenes: 20)",
            )
        if self.seed < 0:
            raise InputError(f"seed {self.seed}", expected="0 or more", fix="give --seed a non-negative integer")
        if not 0.02 <= self.image_scale <= 2.0:
            raise InputError(
                f"image scale {self.image_scale}",
                expected="0.02 to 2 (1: 1600 x 900, 0.44: 704 x 396)",
                fix="give --image-scale in that range",
            )

    @property
    def keyframes(self) -> int:
        return int(self.seconds * STREAM_HZ / KEYFRAME_EVERY + 1e-9) + 1

    @property
    def frames(self) -> int:
        """Stream frames, the last one a keyframe."""
        return (self.keyframes - 1) * KEYFRAME_EVERY + 1
