"""What /diagnostics says of perception; the node only converts it. Rests on ages, as deploy.diagnosis does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deploy import faults
from deploy.diagnosis import Finding, Severity
from deploy.live_perception import Perceived


@dataclass(frozen=True)
class PerceptionState:
    """lifecycle: "unconfigured", "inactive" or "active". seen: the last result. silent_s: since then, or since the
    activation. refused: why it could not be configured, or what it died of. The counts: since the activation."""

    lifecycle: str
    seen: Perceived | None = None
    expected_cameras: tuple[str, ...] = ()
    expects_lidar: bool = True
    refused: str = ""
    silent_s: float = 0.0
    rejected: int = 0
    skipped: int = 0
    frames: int = 0

    def now(
        self, lifecycle: str, *, refused: str, silent_s: float, rejected: int, skipped: int, frames: int
    ) -> PerceptionState:
        """The same result, looked at now."""
        return replace(
            self, lifecycle=lifecycle, refused=refused, silent_s=silent_s, rejected=rejected, skipped=skipped,
            frames=frames,
        )  # fmt: skip


def findings(state: PerceptionState, max_silence_s: float) -> tuple[Finding, ...]:
    """Engine, inputs and processing time, in that order."""
    engine = (
        Finding(faults.ENGINE, Severity.ERROR, state.refused)
        if state.refused
        else Finding(faults.ENGINE, Severity.OK, state.lifecycle)
    )
    return engine, _inputs(state, max_silence_s), _processing(state)


def _inputs(state: PerceptionState, max_silence_s: float) -> Finding:
    if state.lifecycle != "active":
        return Finding(faults.INPUTS, Severity.OK, state.lifecycle)
    seen = state.seen
    counts = {"foreseen": str(seen is not None and seen.foreseen).lower(), "rejected": str(state.rejected)}
    counts |= {"skipped": str(state.skipped), "frames": str(state.frames)}
    if state.silent_s > max_silence_s:
        words = f"no occupancy for {state.silent_s:.1f} s"
        return Finding(faults.INPUTS, Severity.ERROR, words, counts)
    if seen is None:
        return Finding(faults.INPUTS, Severity.WARN, "nothing seen yet", counts)
    lost = [f"{faults.CAMERA_LOST}:{name}" for name in state.expected_cameras if name not in seen.cameras]
    lost += ["lidar_lost"] if state.expects_lidar and not seen.lidar else []
    severity = Severity.WARN if lost else Severity.OK
    return Finding(faults.INPUTS, severity, ", ".join(lost) or "all sensors", counts)


def _processing(state: PerceptionState) -> Finding:
    if state.seen is None:
        return Finding(faults.PROCESSING, Severity.OK, "nothing seen yet")
    values = {f"{stage}_ms": f"{ms:.1f}" for stage, ms in state.seen.stage_ms.items()}
    total = sum(state.seen.stage_ms.values())
    return Finding(faults.PROCESSING, Severity.OK, f"{total:.0f} ms", values)
