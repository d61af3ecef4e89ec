"""From sweeps, images and odometry as they come to occupancy. Knows nothing of ROS; the node converts and publishes.

    offer_odometry, offer_sweep, offer_image   judge the stamp, keep what the next frame needs
    offer_foreseen                             what the world model forecasts: it outweighs a doubtful look
    take                                       the newest occupancy that was not taken yet

A frame is made at each revolution of the lidar, of the sweeps up to it and of each camera's newest image; while the
lidar is silent, at each image of the first camera that delivers. It waits for odometry that covers its stamp. What is
silent is left out: the network was trained for that.

All methods are called from one thread; perception runs in another, on the newest frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.rig import Rig
from deploy.expected import Foreseen, expected_at
from deploy.frame_perception import Decode, FramePerception, Perceived, SensedFrame
from deploy.odometry import LiveOdometry
from deploy.perceive import Perception
from deploy.stamps import Clock, StampGate, Verdict
from deploy.worker import LatestOnlyWorker
from perception.config import CAMERAS
from perception.steady import SteadyConfig
from perception.voxelize import LidarSweep

FORESEEN = 24  # steps that are kept: the first ones of a second of forecasts, and some


@dataclass(frozen=True)
class PerceptionLimits:
    """max_image_age_us: an image that is older at the time of the frame is left out. max_lidar_age_us: a lidar that is
    silent for longer is lost; so much older than the frame a gathered sweep may be, too. The others: LiveLimits."""

    max_image_age_us: int = 250_000
    max_lidar_age_us: int = 500_000
    future_tolerance_us: int = 200_000
    restart_confirmations: int = 5
    max_ego_jump_m: float = 3.0
    max_yaw_jump_rad: float = 0.5


class LivePerception:
    """One rig's sensors; one for each activation of the node."""

    def __init__(
        self,
        perception: Perception,
        rig: Rig,
        lidar: str,
        clock: Clock,
        limits: PerceptionLimits | None = None,
        *,
        steady: SteadyConfig | None = None,
        on_result: Callable[[], None] | None = None,
    ) -> None:
        """
        Attributes: cameras, names of the rig's in its order; read, those that the network reads; reads_lidar.

        Args:
            lidar: name in the rig.
            on_result: called in the thread of perception when there is something to take.

        Raises:
            InputError: the network reads a lidar, and the rig has none of that name.
        """
        self._clock = clock
        self._limits = limits = limits or PerceptionLimits()
        config = perception.manifest.config.model
        self.reads_lidar, self._gathers = config.lidar, config.sweeps
        self._mount = rig.lidar(lidar).mount.ego_from_sensor if config.lidar else np.eye(4)
        names = tuple(camera.name for camera in rig.cameras)
        self.cameras = names
        self.read = tuple(name for name in names if config.camera and name in CAMERAS)
        tolerance = limits.future_tolerance_us
        self._odometry = LiveOdometry(clock, limits)
        self._gates = {
            name: StampGate(clock, future_tolerance_us=tolerance, confirmations=None) for name in ("", *self.cameras)
        }
        self._poses = self._odometry.poses
        self._epoch = 0
        self.rejected = self.skipped = self.frames = 0
        self._forget()
        self._worker: LatestOnlyWorker[SensedFrame, Perceived] = LatestOnlyWorker(
            FramePerception(perception, rig, steady), name="perception", on_result=on_result
        )

    def _forget(self) -> None:
        """All that belongs to one stretch of data."""
        self._epoch += 1
        self._poses.clear()
        for gate in self._gates.values():
            gate.forget()
        self._sweeps: deque[LidarSweep] = deque(maxlen=self._gathers)
        self._images: dict[str, tuple[int, Decode]] = {}
        self._waiting: deque[tuple[int, NDArray[np.float32] | None]] = deque(maxlen=self._gathers)
        self._foreseen: deque[Foreseen] = deque(maxlen=FORESEEN)
        self._framed_us = -1
        self._since_us: int | None = None  # the first stamp of this stretch

    def close(self) -> None:
        self._worker.close()

    @property
    def busy(self) -> bool:
        """Whether a frame is still worked on, or waits for that."""
        return self._worker.busy

    # --- input ---

    def reject(self) -> None:
        """Counts an input that could not even be converted."""
        self.rejected += 1

    def offer_odometry(self, stamp_us: int, world_from_ego: NDArray[np.float64]) -> Verdict:
        """Takes an ego pose. RESTARTED, or a jump: everything before it has been forgotten."""
        verdict, jumped = self._odometry.judge(stamp_us, world_from_ego)
        if verdict is Verdict.RESTARTED or jumped:
            self._forget()
        elif verdict is not Verdict.ACCEPTED:
            self.rejected += 1
            return verdict
        self._since_us = self._since_us or stamp_us
        self._odometry.append(stamp_us, world_from_ego)
        self._advance()
        return verdict

    def offer_sweep(self, stamp_us: int, points: NDArray[np.float32]) -> Verdict:
        """Takes a revolution: float32 [n, 4 or more], x, y, z (m, frame of the rig's lidar), intensity 0..255."""
        verdict = self._judged("", stamp_us)
        if verdict is Verdict.ACCEPTED and self.reads_lidar:
            self._waiting.append((stamp_us, points))
            self._advance()
        return verdict

    def offer_image(self, camera: str, stamp_us: int, decode: Decode) -> Verdict:
        """Takes an image.

        Args:
            decode: gives BGR uint8 of the rig's size, or raises InputError; called in the other thread, for the images
                alone that a frame is made of.
        """
        verdict = self._judged(camera, stamp_us)
        if verdict is Verdict.ACCEPTED and camera in self.read:
            self._images[camera] = (stamp_us, decode)
            if self._lidar_silent_at(stamp_us) and camera == next(c for c in self.read if c in self._images):
                self._waiting.append((stamp_us, None))
                self._advance()
        return verdict

    def offer_foreseen(self, step: Foreseen) -> None:
        """Takes a step of a forecast; it counts for frames of its time whose odometry covers its stamp."""
        self._foreseen.append(step)

    def _judged(self, sensor: str, stamp_us: int) -> Verdict:
        verdict = self._gates[sensor].judge(stamp_us)
        self.rejected += verdict is not Verdict.ACCEPTED
        if verdict is Verdict.ACCEPTED:
            self._since_us = self._since_us or stamp_us
        return verdict

    def _lidar_silent_at(self, stamp_us: int) -> bool:
        known = [s.stamp_us for s in self._sweeps] + [s for s, points in self._waiting if points is not None]
        newest = max(known, default=self._since_us or stamp_us)  # at the start it is given that time, too
        return not self.reads_lidar or stamp_us - newest > self._limits.max_lidar_age_us

    # --- frames ---

    def _advance(self) -> None:
        """Gives poses to what waits for them, and the newest of it to the other thread."""
        due: int | None = None
        while self._waiting and self._poses.newest_us is not None and self._waiting[0][0] <= self._poses.newest_us:
            stamp_us, points = self._waiting.popleft()
            pose = self._poses.at(stamp_us)
            if pose is None or stamp_us <= self._framed_us:  # before the first odometry, in a gap of it, or too late
                self.skipped += 1
                continue
            if points is not None:
                self._sweeps.append(LidarSweep(points, stamp_us, pose, self._mount))
            due = stamp_us
        if due is not None:
            self._framed_us = due
            self.skipped += self._worker.offer(self._frame(due)) is not None

    def _frame(self, stamp_us: int) -> SensedFrame:
        limits, pose = self._limits, self._poses.at(stamp_us)
        assert pose is not None  # `_advance` has looked
        sweeps = tuple(s for s in self._sweeps if 0 <= stamp_us - s.stamp_us <= limits.max_lidar_age_us)
        images = {
            name: image
            for name, (seen_us, image) in self._images.items()
            if abs(stamp_us - seen_us) <= limits.max_image_age_us
        }
        expected = expected_at(self._foreseen, stamp_us, self._poses.at)
        return SensedFrame(stamp_us, pose, sweeps, images, expected, self._epoch)

    def take(self) -> Perceived | None:
        """The newest occupancy that was not taken yet, or None. Raises what perception raised; it has then stopped."""
        result = self._worker.take()
        if result is None or result.epoch != self._epoch:
            return None
        self.frames += 1
        return result


__all__ = ["LivePerception", "Perceived", "PerceptionLimits"]
