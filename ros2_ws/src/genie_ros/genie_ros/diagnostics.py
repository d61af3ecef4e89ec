"""/diagnostics: what deploy.diagnosis finds, as messages; at once where a level changed, else twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.publisher import Publisher
from std_msgs.msg import Header

from deploy.diagnosis import Finding
from deploy.faults import DIAGNOSTICS_S

HARDWARE_ID = "geniedrive"


class DiagnosticsTopic:
    """Publishes on a publisher that it is given; remembers what it told, and when."""

    def __init__(
        self, publisher: Publisher, node_name: str, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._publisher, self._name, self._monotonic_s = publisher, node_name, monotonic_s
        self._told: list[int] = []
        self._told_s = -DIAGNOSTICS_S

    def tell(self, findings: Sequence[Finding], stamp: Time) -> None:
        """Publishes if a level is another than before, or it is time."""
        levels = [int(f.severity) for f in findings]
        now_s = self._monotonic_s()
        if levels == self._told and now_s - self._told_s < DIAGNOSTICS_S * 0.95:
            return
        self._told, self._told_s = levels, now_s
        self._publisher.publish(
            DiagnosticArray(header=Header(stamp=stamp), status=[self._status(finding) for finding in findings])
        )

    def _status(self, finding: Finding) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([finding.severity]),
            name=f"{self._name}: {finding.component}",
            message=finding.message,
            hardware_id=HARDWARE_ID,
            values=[KeyValue(key=key, value=value) for key, value in finding.values.items()],
        )
