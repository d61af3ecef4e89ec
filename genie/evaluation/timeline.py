"""The levels and reasons of a run as a strip of HTML: where a node doubted, held or stopped, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

COLOURS = {"OK": "#4c9f70", "DEGRADED": "#e0b73c", "HOLD": "#e07b39", "FAULT": "#c0392b"}
ROWS = 30  # of the table below the strip: the longest stretches


def timeline_html(stretches: Sequence[Mapping[str, Any]]) -> str:
    """
    Args:
        stretches: begin_s, end_s, level (a key of COLOURS) and reasons of each, in time order.
    """
    if not stretches or stretches[-1]["end_s"] <= stretches[0]["begin_s"]:
        return "<p class=note>No statuses were heard.</p>"
    begin, total = stretches[0]["begin_s"], stretches[-1]["end_s"] - stretches[0]["begin_s"]
    bars = "".join(
        f"<div style='width:{100 * (s['end_s'] - s['begin_s']) / total:.3f}%;background:{COLOURS[s['level']]}' "
        f"title='{escape(_told(s, begin))}'></div>"
        for s in stretches
    )
    told = sorted(
        sorted((s for s in stretches if s["level"] != "OK"), key=lambda s: s["begin_s"] - s["end_s"])[:ROWS],
        key=lambda s: s["begin_s"],
    )
    lines = "".join(f"<li>{escape(_told(s, begin))}</li>" for s in told) or "<li>OK throughout</li>"
    seen = {s["level"] for s in stretches}
    legend = " ".join(
        f"<span style='color:{colour}'>&#9632;</span> {name}" for name, colour in COLOURS.items() if name in seen
    )
    return (
        f"<div style='display:flex;height:26px;border-radius:6px;overflow:hidden'>{bars}</div>"
        f"<p class=note>{total:.1f} s from left to right. {legend}</p><ul class=note>{lines}</ul>"
    )


def _told(stretch: Mapping[str, Any], begin: float) -> str:
    why = f": {', '.join(stretch['reasons'])}" if stretch["reasons"] else ""
    return f"{stretch['begin_s'] - begin:.2f} to {stretch['end_s'] - begin:.2f} s {stretch['level']}{why}"
