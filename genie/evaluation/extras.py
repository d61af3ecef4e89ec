"""What is measured beside the scores while windows are counted: how well a confidence is calibrated, how good the
forecaster's own trajectory of the ego is."""

from __future__ import annotations

from typing import Any

from genie.evaluation.calibration import Calibration, CalibrationCount
from genie.evaluation.planning import PlanningCount
from genie.evaluation.report import SHOWN_S
from genie.evaluation.rollout import WindowResult
from perception.types import HORIZONS_S

_SHOWN = [HORIZONS_S.index(s) for s in SHOWN_S]


class Extras:
    """Give its `add` to genie.evaluation.rollout.evaluate as `on_window`.

    Args:
        planning: whether the trajectory is the forecaster's own, so that it is worth a score.
    """

    def __init__(self, *, planning: bool) -> None:
        self._planning = PlanningCount() if planning else None
        self._calibration: CalibrationCount | None = None

    def add(self, window: WindowResult) -> None:
        if window.forecast.confidence is not None:
            self._calibration = self._calibration or CalibrationCount()
            self._calibration.add(window)
        if self._planning is not None:
            self._planning.add(window)

    def calibration(self) -> Calibration | None:
        return None if self._calibration is None else self._calibration.result()

    def lines(self) -> list[str]:
        """For people."""
        lines = []
        if (calibration := self.calibration()) is not None:
            errors = "/".join(f"{100 * calibration.error(h):.1f}" for h in _SHOWN)
            lines.append(f"expected calibration error {100 * calibration.error():.1f} % (at 1/2/3 s {errors})")
        if self._planning is not None:
            p = self._planning.result()

            def shown(values: Any, form: str) -> str:
                return "/".join(format(values[h], form) for h in _SHOWN)

            lines.append(
                f"ego L2 at 1/2/3 s {shown(p.l2_m, '.2f')} m, mean up to it {shown(p.l2_m_mean, '.2f')} m, heading "
                f"{shown(p.heading_deg, '.1f')} deg"
            )
            if p.collision_percent is not None and p.collision_percent_mean is not None:
                lines.append(
                    f"ego collisions at 1/2/3 s {shown(p.collision_percent, '.2f')} %, mean up to it "
                    f"{shown(p.collision_percent_mean, '.2f')} %"
                )
        return lines

    def as_tree(self) -> dict[str, Any]:
        """For JSON: what was measured."""
        tree: dict[str, Any] = {}
        if (calibration := self.calibration()) is not None:
            tree["calibration"] = {
                "error_percent": 100 * calibration.error(),
                "error_percent_by_horizon": [100 * calibration.error(h) for h in range(len(HORIZONS_S))],
                "curve": [dict(zip(("said", "right", "share"), bin_, strict=True)) for bin_ in calibration.curve()],
            }
        if self._planning is not None:
            scores = self._planning.result()._asdict()
            tree["planning"] = {name: v.tolist() if hasattr(v, "tolist") else v for name, v in scores.items()}
        return tree
