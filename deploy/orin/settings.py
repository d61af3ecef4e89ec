"""What the two ends of a flash tell each other: one line of JSON each way."""

from __future__ import annotations

from dataclasses import dataclass

PROGRAM = "geniedrive-agent"  # with which the target's first line begins; a login shell may say something before

# In this order. The release is known from `copy` on; nothing that runs is touched before `switch`.
STEPS = ("preflight", "copy", "unpack", "workspace", "engines", "golden", "switch", "restart", "health", "confirm")
BACK_STEPS = ("preflight", "previous", "switch", "restart", "health", "confirm")


@dataclass(frozen=True)
class Settings:
    """Of one flash, as the host sends them.

    release, sha256, size: of the archive; "" and 0 to go back. ros_setup: setup.bash to source, "auto": the one under
    /opt/ros, "none": no ROS 2 workspace is built. command: see deploy.orin.service.Service. keep: releases that stay.
    """

    prefix: str
    backend: str
    release: str
    sha256: str
    size: int
    ros_setup: str
    command: str
    latency_ms: float
    rounds: int
    threads: int
    health_timeout_s: float
    keep: int
