"""The ablation as one table to read: accuracy of each row, and beside it what a benchmark measured of its form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.errors import InputError
from genie.evaluation.ablation import ABLATIONS, LEARNED, SABOTAGED, TECHNIQUES, Ablation
from genie.evaluation.report import SHOWN_S
from genie.variants import DENSE, GATED, reached

_GROUPS = {
    TECHNIQUES: "The same weights in each form. Times, work and bytes are of the benchmark named below.",
    SABOTAGED: "Of the gated form: a part that matters hurts when it is broken. Change: of mIoU, in points.",
    LEARNED: "Learned parts left out, gated form. Change: of mIoU, in points.",
}


@dataclass(frozen=True)
class Costs:
    """Of one form, from a benchmark. core_ms: of attention alone, where it was timed."""

    tick_ms: float
    core_ms: float | None
    gmac: float
    state_mb: float
    cache_mb: float


@dataclass(frozen=True)
class Benchmark:
    """config: whose graphs were timed. costs: by variant. claims: as the benchmark told them (deploy.bench_results).
    told: date and machine."""

    config: str
    costs: dict[str, Costs]
    claims: list[dict[str, Any]]
    told: str


def read_benchmark(path: Path) -> Benchmark:
    """What `geniedrive bench` wrote (tick.json).

    Raises:
        InputError: no such file, or not one of a comparison of variants.
    """
    try:
        tree = json.loads(Path(path).read_text(encoding="utf-8"))
        core = tree["attention_core"]
        of_core = {GATED: core["at_the_mix_ms"], DENSE: core["at_the_mix_ms"] * core["speed_up"]}
        costs = {
            v["name"]: Costs(
                v["later_ms"]["tick"]["median"],
                of_core.get(v["name"]),
                v["macs_per_tick"] / 1e9,
                v["state_bytes"] / 1e6,
                v["cache_bytes"]["bound"] / 1e6,
            )
            for v in tree["variants"]
        }
        machine = tree["machine"]
        told = f"{tree['config']}, {machine['cpu']}, {tree['date'][:10]}, `{tree['command']}`"
        return Benchmark(tree["config"], costs, tree["claims"], told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"no benchmark of the variants: {error}",
            expected="tick.json of `geniedrive bench`",
            fix="run `geniedrive bench --dataroot D --out DIR`, and name DIR/tick.json",
            path=path,
        ) from None


def ablation_markdown(told: Mapping[str, Any], benchmark: Benchmark | None, heading: Sequence[str]) -> str:
    """told: rows by name, as genie.evaluation.report.to_json. heading: lines that say of which weights and data."""
    lines = ["# Ablation", "", *heading, ""]
    for group, caption in _GROUPS.items():
        rows = [a for a in ABLATIONS if a.group == group and a.name in told]
        if rows:
            lines += [f"## {group.capitalize()}", "", caption, "", *_table(rows, told, benchmark, group), ""]
    if benchmark is not None and any(each["claim"]["variant"] in told for each in benchmark.claims):
        lines += ["## The article's claims", "", *_verdicts(told, benchmark), ""]
    if benchmark is not None:
        lines += [f"Benchmark: {benchmark.told}.", ""]
    return "\n".join(lines)


def _table(rows: Sequence[Ablation], told: Mapping[str, Any], benchmark: Benchmark | None, group: str) -> list[str]:
    head = "| | mIoU 1/2/3 s | IoU | moving IoU |"
    with_costs = benchmark is not None and group == TECHNIQUES
    with_change = group != TECHNIQUES and GATED in told
    if with_change:
        head += " change |"
    if with_costs:
        head += " core, ms | tick, ms | GMAC | state, MB | K/V read, MB |"
    lines = [head, "|---" + "|---:" * (head.count("|") - 2) + "|"]
    for row in rows:
        cells = [_percent(told[row.name], name) for name in ("miou", "iou", "iou_moving")]
        if with_change:
            cells.append("/".join(f"{c:+.2f}" for c in _change(told[row.name], told[GATED])))
        if with_costs and benchmark is not None:
            cost = benchmark.costs.get(row.variant) if row.sabotage is None else None
            cells += _cost_cells(cost)
        title = f"**{row.title}**" if row.name == GATED else row.title
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def _cost_cells(cost: Costs | None) -> list[str]:
    if cost is None:
        return [""] * 5
    core = "" if cost.core_ms is None else f"{cost.core_ms:.1f}"
    return [core, f"{cost.tick_ms:.1f}", f"{cost.gmac:.2f}", f"{cost.state_mb:.1f}", f"{cost.cache_mb:.1f}"]


def _percent(result: Mapping[str, Any], name: str) -> str:
    values = [result["horizons"][f"{h:.1f}"][name] for h in SHOWN_S]
    return "/".join("-" if v is None else f"{v:.2f}" for v in values)


def _verdicts(told: Mapping[str, Any], benchmark: Benchmark) -> list[str]:
    """One line a technique that was run: the claim, what was measured, a sentence."""
    lines = ["| technique | article | here | verdict |", "|---|---|---|---|"]
    for each in benchmark.claims:
        claim = each["claim"]
        if claim["variant"] not in told:
            continue
        change = _relative(told[claim["variant"]], told[DENSE])
        saved = f"memory {-claim['memory']:+.0%}, compute {-claim['compute']:+.0%}"
        article = f"{claim['speed']:g}x, {saved}, {claim['accuracy']}"
        here = (
            f"{each['speed']:.2f}x, memory {-each['memory']:+.0%}, compute {-each['compute']:+.0%}, "
            f"mIoU {'/'.join(f'{c:+.2f}' for c in change)} %"
        )
        lines.append(f"| {claim['technique']} | {article} | {here} | {_verdict(each, min(change))} |")
    return lines


def _verdict(measured: Mapping[str, Any], worst: float) -> str:
    """What of the claim is reached. worst: change of mIoU, %."""
    claim = measured["claim"]
    at_least = {each: measured[each] >= claim[each] for each in ("speed", "memory", "compute")}
    at_least["accuracy"] = worst >= float(claim["accuracy"].removesuffix("%"))
    return reached(at_least)


def _relative(result: Mapping[str, Any], dense: Mapping[str, Any]) -> list[float]:
    """Change of mIoU in % of the dense twin's, at each shown horizon."""
    return [100.0 * (a / b - 1.0) for a, b in zip(_miou(result), _miou(dense), strict=True)]


def _change(result: Mapping[str, Any], whole: Mapping[str, Any]) -> list[float]:
    """Of mIoU, in points, at each shown horizon."""
    return [a - b for a, b in zip(_miou(result), _miou(whole), strict=True)]


def _miou(result: Mapping[str, Any]) -> list[float]:
    return [result["horizons"][f"{h:.1f}"]["miou"] for h in SHOWN_S]
