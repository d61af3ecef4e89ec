"""Whether the rig's cameras are all there, and are the ones that were calibrated.

Who makes the occupancy sees with these cameras; here they are watched by their CameraInfo alone. A lost camera is
masked and told; without the one that looks ahead nothing new is believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.errors import InputError
from calib.rig import Intrinsics, Rig
from calib.rig_file import load_rig
from deploy.stamps import Clock, StampGate, Verdict

PIXELS = 0.5  # of focal length and centre, in the published image
COEFFICIENT = 1e-3


@dataclass(frozen=True)
class CameraState:
    """mask: bit i is set where camera i is there. lost: names, but for the front one. front_lost_s: for how long
    (0: it is there). differing: cameras whose calibration is not the rig's."""

    mask: int = 0
    lost: tuple[str, ...] = ()
    front_lost_s: float = 0.0
    differing: tuple[str, ...] = ()


NONE_WATCHED = CameraState()


class CameraWatch:
    """One for each activation. Belongs to the thread of the callbacks."""

    def __init__(
        self,
        rig: Rig,
        front: str,
        clock: Clock,
        *,
        max_age_us: int,
        future_tolerance_us: int,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            rig: its cameras are watched, in its order.
            front: name of the one that looks ahead.

        Raises:
            InputError: the rig has no such camera.
        """
        rig.camera(front)
        self.names = tuple(camera.name for camera in rig.cameras)
        self._rig, self._front, self._clock, self._monotonic_s = rig, front, clock, monotonic_s
        self._max_age_s = max_age_us * 1e-6
        self._gates = [
            StampGate(clock, future_tolerance_us=future_tolerance_us, confirmations=None) for _ in self.names
        ]
        self._judged: dict[int, Intrinsics] = {}  # by camera: what was compared last; it hardly ever changes
        self._differing: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """The data begins anew; what is calibrated how stays known."""
        for gate in self._gates:
            gate.forget()
        self._stamps: list[int | None] = [None] * len(self.names)
        self._since_s = self._monotonic_s()

    def offer(self, index: int, stamp_us: int, found: Intrinsics) -> Verdict:
        """Takes the stamp and the calibration that camera `index` tells of itself."""
        verdict = self._gates[index].judge(stamp_us)
        if verdict is not Verdict.ACCEPTED:
            return verdict
        self._stamps[index] = stamp_us
        if self._judged.get(index) == found:
            return verdict
        self._judged[index] = found
        name = self.names[index]
        if same_calibration(self._rig.camera(name).intrinsics, found):
            self._differing.discard(name)
        else:
            self._differing.add(name)
        return verdict

    def look(self) -> CameraState:
        """How it stands now."""
        ages = [self._age_s(stamp) for stamp in self._stamps]
        mask = sum(1 << i for i, age in enumerate(ages) if age <= self._max_age_s)
        lost = [name for name, age in zip(self.names, ages, strict=True) if age > self._max_age_s]
        front_s = max(0.0, ages[self.names.index(self._front)] - self._max_age_s)
        return CameraState(mask, tuple(n for n in lost if n != self._front), front_s, tuple(sorted(self._differing)))

    def _age_s(self, stamp_us: int | None) -> float:
        now_us = self._clock.now_us()
        if stamp_us is None or now_us is None:
            return self._monotonic_s() - self._since_s
        return (now_us - stamp_us) * 1e-6


def checked_rig(path: Path, bundle_rig: str | None) -> Rig:
    """The rig of this car, if it is the one that the bundle was made for.

    Args:
        bundle_rig: sha256 of the bundle's rig (Rig.sha256); None where the bundle knows no sensors.

    Raises:
        InputError: no such file, a rig that cannot be, or another one.
    """
    rig = load_rig(path)
    if bundle_rig is not None and rig.sha256 != bundle_rig:
        raise InputError(
            f"calibration differs: the rig {rig.name!r} has sha256 {rig.sha256}",
            expected=f"sha256 {bundle_rig}, the rig that the bundle was packed with",
            fix="give the rig of this bundle, or pack the bundle with this rig",
            path=path,
        )
    return rig


def same_calibration(rig: Intrinsics, found: Intrinsics) -> bool:
    """Whether a published image is of the camera in the rig; images may be smaller than the rig's, not cut."""
    if rig.model != found.model or abs(rig.size[0] * found.size[1] - rig.size[1] * found.size[0]) > max(rig.size):
        return False
    wanted = rig if rig.size == found.size else rig.scaled(found.size)
    pixels = np.subtract((*wanted.focal, *wanted.centre), (*found.focal, *found.centre))
    longest = max(len(rig.distortion), len(found.distortion))
    first, second = (np.pad(np.array(d, float), (0, longest - len(d))) for d in (rig.distortion, found.distortion))
    return bool(np.abs(pixels).max() <= PIXELS and (not longest or np.abs(first - second).max() <= COEFFICIENT))
