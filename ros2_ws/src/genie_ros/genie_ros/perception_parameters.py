"""The parameters of the perception node, as those of the forecast node: one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node

from deploy.live_perception import PerceptionLimits
from genie_ros.parameters import PARAMETERS, Parameter, values

_L = PerceptionLimits()
PERCEPTION_PARAMETERS: dict[str, Parameter] = {
    "perception_path": Parameter("", "Folder of the exported perception network."),
    "rig_path": Parameter("", "Rig file of this car: cameras in the order of the image topics, and the lidar."),
    "lidar": Parameter("LIDAR_TOP", "Name in the rig of the lidar whose frame the points are in."),
    "threads": Parameter(2, "Threads of the inference engine.", (1, 16)),
    "stamp_clock": PARAMETERS["stamp_clock"],
    "ego_frame": Parameter("base_link", "frame_id of the ego frame of the occupancy."),
    "max_image_age_ms": Parameter(
        _L.max_image_age_us / 1e3, "An image further from the time of the frame is left out (ms).", (1.0, 10_000.0)
    ),
    "max_lidar_age_ms": Parameter(
        _L.max_lidar_age_us / 1e3, "A lidar that is silent for longer is lost: the cameras see alone (ms).",
        (1.0, 10_000.0),
    ),
    "max_silence_ms": Parameter(
        1000.0, "No occupancy for longer, from input that comes, is an ERROR in /diagnostics (ms).", (10.0, 600_000.0)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PerceptionParameters:
    """Read once, at configuration."""

    perception_path: Path
    rig_path: Path
    lidar: str
    threads: int
    stamp_clock: str
    ego_frame: str
    max_silence_s: float
    limits: PerceptionLimits


def read(node: Node) -> PerceptionParameters:
    """InputError where a value cannot be used."""
    value = values(node, PERCEPTION_PARAMETERS, ("perception_path", "rig_path"))
    limits = PerceptionLimits(
        max_image_age_us=round(value["max_image_age_ms"] * 1e3), max_lidar_age_us=round(value["max_lidar_age_ms"] * 1e3)
    )
    return PerceptionParameters(
        perception_path=Path(value["perception_path"]),
        rig_path=Path(value["rig_path"]),
        max_silence_s=value["max_silence_ms"] * 1e-3,
        limits=limits,
        **{name: value[name] for name in ("lidar", "threads", "stamp_clock", "ego_frame")},
    )
