"""The report of a demo as one HTML file: pictures inside, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from genie.evaluation.report import SHOWN_S
from genie.evaluation.timeline import timeline_html

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222831; }
body { max-width: 1180px; margin: 2.5em auto; padding: 0 1.2em; }
h1 { font-size: 1.9em; margin-bottom: .1em; }
h2 { margin-top: 2em; border-bottom: 1px solid #d9dde2; padding-bottom: .2em; }
.lead { color: #5b6570; margin-top: 0; }
.cards { display: flex; flex-wrap: wrap; gap: .8em; margin: 1.5em 0; }
.card { flex: 1 1 170px; border: 1px solid #d9dde2; border-radius: 10px; padding: .8em 1em; }
.card b { display: block; font-size: 1.65em; line-height: 1.2; } .card span { color: #5b6570; font-size: .88em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35em .7em; text-align: right; border-bottom: 1px solid #e6e9ed; }
th:first-child, td:first-child { text-align: left; } thead th { color: #5b6570; font-weight: 600; }
td.best { font-weight: 700; background: #eef7ee; }
img { width: 100%; height: auto; } figure { margin: 1.2em 0; } figcaption { color: #5b6570; font-size: .92em; }
code { background: #f3f5f7; padding: .1em .3em; border-radius: 4px; word-break: break-all; }
.note { color: #5b6570; font-size: .92em; }
"""


@dataclass(frozen=True)
class Card:
    """A headline number and what it is."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Picture:
    """png: the file's bytes."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class Report:
    """What a demo has to tell.

    scores:       as `genie.evaluation.report.to_json` gives them.
    ros:          as genie_ros.recorder summarises.
    facts:        name, value: of the machine and the run.
    stages:       name, seconds, headline.
    not_measured: plain sentences.
    """

    title: str
    lead: str
    cards: Sequence[Card]
    scores: Sequence[Mapping[str, Any]]
    scores_note: str
    pictures: Sequence[Picture]
    losses: Picture
    ros: Mapping[str, Any]
    ros_note: str
    stages: Sequence[tuple[str, float, str]]
    facts: Sequence[tuple[str, str]]
    not_measured: Sequence[str]


def render(report: Report) -> str:
    """The whole file."""
    sections = [
        f"<h1>{escape(report.title)}</h1><p class=lead>{escape(report.lead)}</p>",
        _cards(report.cards),
        "<h2>Accuracy on scenes that were never trained on</h2>" + score_table(report.scores),
        f"<p class=note>{escape(report.scores_note)}</p>",
        "<h2>Forecasts</h2>" + "".join(_picture(p) for p in report.pictures),
        "<h2>Training</h2>" + _picture(report.losses),
        "<h2>On a ROS 2 graph</h2>" + _rows(ros_rows(report.ros), ("what", "measured")),
        f"<p class=note>{escape(report.ros_note)}</p>",
        "<h3>Faults and states</h3>" + timeline_html(report.ros["timeline"]),
        "<h2>Stages</h2>" + _rows([(n, f"{s:.0f} s", h) for n, s, h in report.stages], ("stage", "took", "result")),
        "<h2>Where this was measured</h2>" + _rows(report.facts, ("", "")),
        "<h2>Not measured</h2><ul>" + "".join(f"<li>{escape(text)}</li>" for text in report.not_measured) + "</ul>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(report.title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """mIoU, IoU and mIoU of the moving region at 1, 2 and 3 s; the best of each column is marked."""
    columns = [(name, f"{h:.1f}") for name in ("miou", "iou", "miou_moving") for h in SHOWN_S]
    values = [[score["horizons"][h][name] for name, h in columns] for score in scores]
    best = [max((row[i] for row in values if row[i] is not None), default=None) for i in range(len(columns))]
    groups = "".join(f"<th colspan={len(SHOWN_S)}>{name}</th>" for name in ("mIoU", "IoU", "mIoU, moving region"))
    heads = "".join(f"<th>{float(h):g} s</th>" for _, h in columns)
    body = ""
    for score, row in zip(scores, values, strict=True):
        cells = "".join(_score_cell(value, value == top) for value, top in zip(row, best, strict=True))
        body += f"<tr><td>{escape(score['model'])}</td>{cells}</tr>"
    return f"<table><thead><tr><th></th>{groups}</tr><tr><th>%</th>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _score_cell(value: float | None, is_best: bool) -> str:
    if value is None:
        return "<td>-</td>"
    return f"<td{' class=best' if is_best else ''}>{value:.1f}</td>"


def ros_rows(ros: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The recorder's summary in words."""

    def times(name: str) -> str:
        found = ros[name]
        if found is None:
            return "-"
        return f"median {found['median']:.0f} ms, p95 {found['p95']:.0f} ms, longest {found['max']:.0f} ms"

    def rate(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f} Hz"

    silence = ros["longest_silence_ms"]
    levels = ", ".join(f"{name} {count}" for name, count in ros["levels"].items() if count)
    return [
        ("listened", f"{ros['seconds']:.1f} s, {ros['forecasts']} forecasts, {ros['forecasts_lost']} lost on the way"),
        ("published rate", rate(ros["published_hz"])),
        ("new inferences", f"{rate(ros['new_inference_hz'])} ({ros['new_inferences']} in all)"),
        ("observation to forecast", times("latency_ms")),
        ("inference alone", times("inference_ms")),
        ("longest silence between two forecasts", "-" if silence is None else f"{silence:.0f} ms"),
        ("observations skipped for newer ones", str(ros["observations_skipped"])),
        ("levels", levels or "-"),
    ]


def _cards(cards: Sequence[Card]) -> str:
    inner = "".join(f"<div class=card><b>{escape(c.value)}</b><span>{escape(c.meaning)}</span></div>" for c in cards)
    return f"<div class=cards>{inner}</div>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _rows(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    head = "".join(f"<th style='text-align:left'>{escape(h)}</th>" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
