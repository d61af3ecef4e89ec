"""What /diagnostics says, component by component; the node only converts it. Everything rests on ages and on what is
there now: input that stops turns ERROR, without anyone noticing that it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from deploy import faults
from deploy.live_status import Level, LiveStatus

RECENTLY_S = 2.0  # a refused message is told for so long
_COMPONENT = {
    faults.NO_OCCUPANCY: faults.INPUTS,
    faults.NO_ODOMETRY: faults.INPUTS,
    faults.CAMERA_LOST: faults.INPUTS,
    faults.FRONT_CAMERA_LOST: faults.INPUTS,
    faults.CALIBRATION_DIFFERS: faults.CALIBRATION,
    faults.INFERENCE_LATE: faults.PROCESSING,
    faults.INFERENCE_SLOW: faults.PROCESSING,
    faults.INFERENCE_FAILED: faults.ENGINE,
    faults.REFILLING: faults.EGO,
    faults.EGO_JUMP: faults.EGO,
    faults.CLOCK_JUMP: faults.EGO,
    faults.DATA_RESTARTED: faults.EGO,
    faults.RESET_REQUESTED: faults.EGO,
}  # what else is a word of the output


class Severity(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """What is to be said of one component."""

    component: str
    severity: Severity
    message: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeState:
    """What the node knows beside the status of a tick.

    refused:      why it could not be configured; "" where it could.
    refused_by:   the component to blame.
    lifecycle:    "unconfigured", "inactive" or "active".
    mismatches:   topics and policies on which another node asks for what is not offered, or offers too little.
    publish_ms:   how long converting and publishing took, last time.
    cycle_ms:     between the last two ticks.
    """

    lifecycle: str
    refused: str = ""
    refused_by: str = faults.ENGINE
    mismatches: Sequence[str] = ()
    publish_ms: float = 0.0
    cycle_ms: float = 0.0


class Diagnosis:
    """Remembers since when inputs are refused; all else is judged anew each time."""

    def __init__(self, slow_ms: float, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """slow_ms: an inference that takes longer is told as WARN."""
        self._slow_ms, self._monotonic_s = slow_ms, monotonic_s
        self._rejected, self._rejected_s = 0, -RECENTLY_S

    def findings(self, status: LiveStatus | None, node: NodeState) -> tuple[Finding, ...]:
        """One for each of faults.COMPONENTS, in that order. status: None while the node is not active."""
        words: dict[str, list[str]] = {name: [] for name in faults.COMPONENTS}
        for reason in status.reasons if status else ():
            words[_COMPONENT.get(reason.partition(":")[0], faults.OUTPUT)].append(reason)
        worst = Severity.WARN if status is None or status.level <= Level.DEGRADED else Severity.ERROR
        found = []
        for component, reasons in words.items():
            severity = worst if reasons else Severity.OK
            if component == faults.EGO:  # what is told of a flush is how it mends
                severity = min(severity, Severity.WARN)
            extra_severity, extra, values = self._extra(component, status, node)
            severity = Severity(max(severity, extra_severity))
            message = ", ".join([*reasons, *extra]) or node.lifecycle
            found.append(Finding(component, severity, message, values))
        return tuple(found)

    def _extra(
        self, component: str, status: LiveStatus | None, node: NodeState
    ) -> tuple[Severity, list[str], dict[str, str]]:
        """What is not among the reasons of a status."""
        if node.refused and component == node.refused_by:
            return Severity.ERROR, [node.refused.partition("\n")[0]], {}
        if component == faults.CONNECTIONS and node.mismatches:
            return Severity.ERROR, list(node.mismatches), {}
        if status is not None and component == faults.INPUTS:
            return self._refused_inputs(status)
        if status is not None and component == faults.PROCESSING:
            return self._times(status, node)
        return Severity.OK, [], {"engine_id": status.engine_id} if status and component == faults.ENGINE else {}

    def _times(self, status: LiveStatus, node: NodeState) -> tuple[Severity, list[str], dict[str, str]]:
        inference_ms = status.inference_time_s * 1e3
        values = {"inference_ms": f"{inference_ms:.1f}", "columns": str(status.columns)}
        values |= {"publish_ms": f"{node.publish_ms:.1f}", "cycle_ms": f"{node.cycle_ms:.1f}"}
        if inference_ms > self._slow_ms:  # NaN is not
            return Severity.WARN, [f"inference took {inference_ms:.0f} ms, allowed are {self._slow_ms:g}"], values
        return Severity.OK, [], values

    def _refused_inputs(self, status: LiveStatus) -> tuple[Severity, list[str], dict[str, str]]:
        if status.rejected_count != self._rejected:
            self._rejected, self._rejected_s = status.rejected_count, self._monotonic_s()
        values = {"rejected": str(status.rejected_count), "skipped": str(status.skipped_count)}
        values |= {"input_age_s": f"{status.input_age_s:.3f}", "camera_mask": f"{status.camera_mask:#x}"}
        if self._rejected and self._monotonic_s() - self._rejected_s < RECENTLY_S:
            return Severity.WARN, [f"{self._rejected} inputs refused so far"], values
        return Severity.OK, [], values
