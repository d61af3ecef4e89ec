"""docs/faults.md: the table of deploy/faults.py with the times that a run of the tests measured."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.faults import FAULTS, Fault
from deploy.live_status import LiveLimits

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/faults.md"
HEAD = """# Faults: how soon they are told, and how they are mended

Made by the tests (`make faults`): each row is injected into the real node process over DDS, and heard by another
process. The table itself is [deploy/faults.py](../deploy/faults.py); a row that no test injects fails the suite.
*Bound*: seconds from what *counted from* says until a subscriber hears of it, with the limits of the test: {limits}.
*Measured*: the time of that run until the status told it / until /diagnostics did. Two CPU cores, no GPU, {when}.
The stamps of TensorRT engines are tested without DDS (tests/deploy/test_engine.py); here
another engine is one whose outputs are not the golden ones.

| fault | what is told | /diagnostics | counted from | bound, s | measured, s | how it is mended |
|---|---|---|---|---|---|---|
"""
LIMITS = LiveLimits(hold_timeout_us=500_000, max_camera_age_us=800_000, refill_us=500_000, slow_inference_us=400_000)


def limits_text() -> str:
    names = ("max_input_age", "hold_timeout", "max_camera_age", "refill", "slow_inference")
    return ", ".join(f"`{name}_ms` {getattr(LIMITS, f'{name}_us') / 1e3:g}" for name in names)


def row(fault: Fault, measured: str) -> str:
    cells = (fault.title, fault.told, fault.component, fault.counted_from, f"{fault.bound(LIMITS):.2f}", measured)
    return "| " + " | ".join((*cells, fault.recovery)) + " |"


def document(measured: dict[str, str], when: str) -> str:
    """measured: by key of FAULTS."""
    return HEAD.format(limits=limits_text(), when=when) + "\n".join(
        row(fault, measured[key]) for key, fault in FAULTS.items()
    ) + "\n"  # fmt: skip


def without_measurements(text: str) -> str:
    """For comparison: what does not change from run to run."""
    text = re.sub(r"no GPU, [\d-]+\.", "no GPU, DATE.", text)
    lines = [line.split(" | ") for line in text.splitlines()]
    return "\n".join(" | ".join(c for i, c in enumerate(cells) if i != 5) for cells in lines)
