"""When each sensor measures, and the rows of it: sample, sample_data and ego_pose.

The lidar ends a revolution at each keyframe. On its way round it passes the cameras, and each is triggered then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from genie.data.synth.config import KEYFRAME_EVERY, STREAM_HZ, SynthConfig
from genie.data.synth.names import SceneNames, token
from genie.data.synth.sensors import CAMERA_HZ, IMAGE_SIZE, LIDAR, LIDAR_HZ, RIG, Mount
from genie.data.synth.world import EgoPose, World

Row = dict[str, Any]
KEYFRAME_US = KEYFRAME_EVERY * 1_000_000 // STREAM_HZ
# The front left camera is triggered 43 ms before the end of the revolution: two frames would be about as near to it.
LONGEST_LEAD = 0.498 / CAMERA_HZ  # s


class Shot(NamedTuple):
    """One measurement. time_us: after the start of the scene. sample: the keyframe that it belongs to, or that follows
    it (the last one where none does). previous, next: times of the same channel, None at the ends."""

    channel: str
    time_us: int
    sample: int
    is_key_frame: bool
    previous: int | None
    next: int | None

    @property
    def seconds(self) -> float:
        return self.time_us * 1e-6

    def filename(self, names: SceneNames) -> str:
        """Relative to the data root."""
        folder = "samples" if self.is_key_frame else "sweeps"
        stamp = names.stamp_us(self.time_us)
        ending = "pcd.bin" if self.channel == LIDAR else "jpg"
        return f"{folder}/{self.channel}/{names.logfile}__{self.channel}__{stamp}.{ending}"


def schedule(config: SynthConfig) -> list[Shot]:
    """All measurements of a scene, by channel and time. Without --lidar the lidar's keyframes alone: every sample needs
    one for its pose."""
    shots = []
    for mount in RIG:
        if mount.channel == LIDAR:
            shots += channel_shots(config, mount, LIDAR_HZ if config.lidar else STREAM_HZ // KEYFRAME_EVERY)
        elif config.cameras:
            shots += channel_shots(config, mount, CAMERA_HZ if config.camera_sweeps else STREAM_HZ // KEYFRAME_EVERY)
    return shots


def channel_shots(config: SynthConfig, mount: Mount, rate: int) -> list[Shot]:
    """From the first keyframe to the last, `rate` Hz; a keyframe is what lies nearest to the sample's stamp."""
    count = (config.keyframes - 1) * KEYFRAME_US * rate // 1_000_000 + 1
    times = np.round(np.arange(count) * (1e6 / rate)).astype(int) - round(min(mount.lead, LONGEST_LEAD) * 1e6)
    stamps = np.arange(config.keyframes) * KEYFRAME_US
    key_of = {int(np.abs(times - stamp).argmin()): k for k, stamp in enumerate(stamps)}
    shots = []
    for i, time in enumerate(times):
        following = min(int(np.searchsorted(stamps, time)), config.keyframes - 1)
        shots.append(
            Shot(
                mount.channel,
                int(time),
                key_of.get(i, following),
                i in key_of,
                int(times[i - 1]) if i else None,
                int(times[i + 1]) if i + 1 < count else None,
            )
        )
    return shots


def image_size(scale: float) -> tuple[int, int]:
    """Width and height (px)."""
    return round(IMAGE_SIZE[0] * scale), round(IMAGE_SIZE[1] * scale)


def sample_rows(names: SceneNames, count: int) -> list[Row]:
    return [
        {
            "token": names.sample_token(k), "timestamp": names.stamp_us(k * KEYFRAME_US),
            "prev": names.sample_token(k - 1) if k else "", "next": names.sample_token(k + 1) if k + 1 < count else "",
            "scene_token": names.token("scene"),
        }
        for k in range(count)
    ]  # fmt: skip


def data_rows(shots: list[Shot], config: SynthConfig, names: SceneNames) -> list[Row]:
    """sample_data; images have the size in which they are written."""
    return [_data_row(shot, config, names) for shot in shots]


def _data_row(shot: Shot, config: SynthConfig, names: SceneNames) -> Row:
    width, height = (0, 0) if shot.channel == LIDAR else image_size(config.image_scale)

    def link(time_us: int | None) -> str:
        return "" if time_us is None else names.data_token(shot.channel, time_us)

    return {
        "token": link(shot.time_us), "sample_token": names.sample_token(shot.sample),
        "ego_pose_token": names.token("ego_pose", shot.channel, shot.time_us),
        "calibrated_sensor_token": token(names.seed, "calibrated_sensor", shot.channel),
        "timestamp": names.stamp_us(shot.time_us), "fileformat": "pcd" if shot.channel == LIDAR else "jpg",
        "is_key_frame": shot.is_key_frame, "height": height, "width": width, "filename": shot.filename(names),
        "prev": link(shot.previous), "next": link(shot.next),
    }  # fmt: skip


def pose_rows(shots: list[Shot], world: World, names: SceneNames) -> list[Row]:
    """ego_pose: of each measurement its own, planar but for the tilt of the body."""
    return [
        {
            "token": names.token("ego_pose", shot.channel, shot.time_us),
            "timestamp": names.stamp_us(shot.time_us),
            "rotation": ego_quaternion(world.ego(shot.seconds)),
            "translation": [float(v) for v in world.ego(shot.seconds).xyz],
        }
        for shot in shots
    ]


def ego_quaternion(ego: EgoPose) -> list[float]:
    """[w, x, y, z] of Rz(yaw) Ry(pitch) Rx(roll), the rotation of `EgoPose.world_from_ego`."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a / 2), np.sin(a / 2)) for a in (ego.yaw, ego.pitch, ego.roll))
    return [
        float(cy * cp * cr + sy * sp * sr),
        float(cy * cp * sr - sy * sp * cr),
        float(cy * sp * cr + sy * cp * sr),
        float(sy * cp * cr - cy * sp * sr),
    ]
