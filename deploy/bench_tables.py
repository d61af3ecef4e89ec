"""The comparison of the variants to read: OUT/tick.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deploy.bench import TICK, TOTAL, spread
from deploy.bench_report import ROLLOUT, Run, footer
from deploy.bench_results import Measured, mean_rows, targets, verdicts
from deploy.bench_scaling import ONE_BUCKET
from deploy.bench_variants import CONFIG, SEED, SOME
from genie.config import load_config
from genie.variants import DENSE, GATED, MEMORY, VARIANT_OF

SCALING_PNG, VARIANTS_PNG = "scaling.png", "variants.png"
_STAGES = ("observe", "assemble")


def as_markdown(run: Run, m: Measured) -> str:
    lines = [
        "# Time of a tick",
        "",
        *_headline(run, m),
        *_targets(m),
        *_variants(m),
        *_counts(m),
        *_buckets(m),
        *_core(m),
        *_scaling(m),
        *_claims(run, m),
        *_rates(m),
        *footer(run),
    ]
    return "\n".join(lines)


def _table(head: str, align: str, rows: Sequence[Sequence[object]]) -> list[str]:
    """align: a letter for each column, l or r."""
    rule = "|" + "|".join({"l": "---", "r": "---:"}[letter] for letter in align) + "|"
    return [head, rule, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def _ms(values: Sequence[float]) -> list[str]:
    s = spread(values)
    return [f"{x:.1f}" for x in (s.median, s.p95, s.max)]


def _headline(run: Run, m: Measured) -> list[str]:
    frames = len(m.whole[GATED].rows)
    return [
        f"`{CONFIG}`, untrained weights of seed {SEED} (the graphs are static: weights do not change the work), "
        f"`Pipeline.step` on ONNX Runtime, CPU, fp32, {run.threads} threads, spinning off. Stream: {run.stream}. "
        "Perception is not in any figure; one tick encodes an observation and decodes six steps of 200x200x16 voxels. "
        f"The bucket mix is that of all {frames} frames; the first two ticks of each scene are told "
        f"apart everywhere. The dense twin reads {load_config(CONFIG).model.history} past frames. Every pipeline is "
        "warmed up first, as the node does.",
        "",
        f"![Variants]({VARIANTS_PNG})",
        "",
    ]


def _targets(m: Measured) -> list[str]:
    rows = [(t.what, t.wanted, t.found, "met" if t.met else "**below**") for t in targets(m)]
    return ["## Targets", "", *_table("| | wanted | measured | |", "lrrl", rows)]


def _variants(m: Measured) -> list[str]:
    memory = m.named(MEMORY)
    rows = []
    for r in m.variants:
        of_memory = f"{memory.tick_ms / r.tick_ms:.1f}x" if memory else "-"
        rows.append(
            [
                f"**{r.variant.title}**" if r is m.gated else r.variant.title,
                *_ms(r.times.later(TICK)),
                *(f"{ms:.0f}" for ms in r.times.first_ms[TICK]),
                *(f"{r.times.later_ms[stage].median:.1f}" for stage in _STAGES),
                f"{m.dense.tick_ms / r.tick_ms:.1f}x",
                of_memory,
            ]
        )
    ticks = len(m.gated.times.later(TICK))
    return [
        "## Variants",
        "",
        f"All take turns, frame by frame, over the same {ticks} ticks (and the first two of each scene). Tick: inputs "
        'copied, gate and network, in ms. "1st", "2nd": the very first ticks, in which everything '
        "is computed. Memory alone is the dense twin with merged memory; invented content is decoded once "
        "in every variant. Everything "
        "off: what the gated form's other way of computing costs by itself. Retention and heads alone "
        "compute 2499 of 2500 columns.",
        "",
        *_table(
            "| variant | tick, median | p95 | max | 1st | 2nd | observe | assemble | against dense | against memory |",
            "lrrrrrrrrr",
            rows,
        ),
        *_whole(m),
    ]


def _whole(m: Measured) -> list[str]:
    gated, ms = m.whole[GATED], m.whole_ms
    total, cuts = gated.later(TOTAL), gated.cuts_ms
    p99, (median, p95, most) = np.percentile(ms, 99), _ms(ms)
    beside = []
    for name, times in m.whole.items():
        if name != GATED and (found := m.whole_speed_up(name)):
            of_medians, of_means = found
            beside.append(
                f"- {VARIANT_OF[name].title}, every {SOME}th frame: median {np.median(times.later(TICK)):.1f} ms, so "
                f"the default is {of_medians:.1f}x faster (medians), {of_means:.1f}x (means)."
            )
    return [
        f"Over the whole stream, {len(ms)} ticks, the default: **median {median} ms**, mean {np.mean(ms):.1f}, "
        f"p95 {p95}, p99 {p99:.1f}, max {most}; with observe and assemble median {np.median(total):.1f}, p95 "
        f"{np.percentile(total, 95):.1f}."
        + (f" A scene cut, where everything is computed anew: {np.median(cuts):.0f} ms." if cuts else ""),
        "",
        *beside,
        "",
    ]


def _counts(m: Measured) -> list[str]:
    dense, rows = m.dense, []
    for r in m.variants:
        is_dense = r is dense
        rows.append(
            [
                r.variant.title,
                "all" if is_dense else _histogram(r.times.buckets),
                2500 if is_dense else f"{mean_rows(r.times.buckets):.0f}",
                f"{m.macs(r) / 1e9:.2f}",
                f"{m.macs(r) / m.macs(dense) - 1:+.1%}",
                f"{r.state_bytes / 1e6:.1f}",
                f"{r.state_bytes / dense.state_bytes - 1:+.1%}",
                f"{m.cache(r).attended / 1e6:.1f}",
                f"{m.cache(r).attended / m.cache(dense).attended - 1:+.1%}",
                f"{m.cache(r).bound / 1e6:.1f}",
            ]
        )
    return [
        "## Work and memory",
        "",
        "Counted from the exported graphs. Buckets: columns computed, % of the common ticks; over the whole stream "
        f"the default takes {_histogram(m.mix)} ({mean_rows(m.mix):.0f} columns on average): the mix. GMAC: MatMul and "
        "Gemm of the graphs that a tick runs, at the mix where the variant has the default's buckets. State: carried "
        "from tick to tick, one of the runtime's two sets. K/V read: keys and values that attention reads, the present "
        f"frame's included; bound: of the cached buffers that it is given, the rows that are taken, at the mix. "
        f"Every variant has all {m.parameters / 1e6:.2f} M parameters.",
        "",
        *_table(
            "| variant | buckets | mean columns | GMAC | | state, MB | | K/V read, MB | | bound, MB |",
            "llrrrrrrrr",
            rows,
        ),
    ]


def _histogram(mix: Mapping[int, int]) -> str:
    ticks = sum(mix.values())
    return ", ".join(f"{k}: {100 * count / ticks:.1f}" for k, count in mix.items())


def _buckets(m: Measured) -> list[str]:
    gate = ["the gate alone", *_ms(m.scaling.gate)]
    rows = [gate, *([f"k = {k}", *_ms(ms)] for k, ms in m.scaling.ticks.items())]
    return [
        "## Each bucket",
        "",
        "Full tick with the bucket forced, the buckets in turns along the stream; R = 1280 invented columns, ms.",
        "",
        *_table("| | median | p95 | max |", "lrrr", rows),
    ]


def _core(m: Measured) -> list[str]:
    s = m.scaling
    dense = float(np.median(s.core_dense))
    rows = [["dense twin, 5 past frames", *_ms(s.core_dense), "1.0x"]]
    rows += [[f"gated, k = {k}", *_ms(ms), f"{dense / np.median(ms):.1f}x"] for k, ms in s.core.items()]
    rows.append(["**gated, at the mix**", f"{m.core_ms:.1f}", "", "", f"**{m.core_speed_up:.1f}x**"])
    return [
        "## Attention core",
        "",
        "From encoded columns to tokens: ego warp of keys and values, attention and MLPs of all layers, memory fusion, "
        "the new state. Graphs of their own, random weights and inputs, in turns, ms.",
        "",
        *_table("| | median | p95 | max | |", "lrrrr", rows),
    ]


def _scaling(m: Measured) -> list[str]:
    missing = [g for g in m.scaling.grid if not g.ms]
    notes = [f"{g.what} on {g.side} x {g.side}: not measured, needs {g.needs_bytes / 1e9:.0f} GB." for g in missing]
    lines = []
    for what in dict.fromkeys(g.what for g in m.scaling.grid):
        cells = [f"{g.side} x {g.side}: {np.median(g.ms):.1f}" for g in m.scaling.grid if g.what == what and g.ms]
        lines.append(f"- core, {what}: {', '.join(cells)}")
    history = [f"{frames}: {np.median(ms):.0f}" for frames, ms in m.scaling.history.items()]
    moves = [f"{horizons}: {np.median(ms):.1f}" for horizons, ms in m.scaling.moves.items()]
    return [
        "## Scaling",
        "",
        f"![Scaling]({SCALING_PNG})",
        "",
        "Medians, ms:",
        f"- core of the dense twin by past frames: {', '.join(history)}; gated, k = {ONE_BUCKET}: "
        f"{np.median(m.scaling.history_gated):.1f} at any length, for its graph has none",
        *lines,
        f"- the move by horizons: {', '.join(moves)}",
        *(f"- {note}" for note in notes),
        "",
    ]


def _claims(run: Run, m: Measured) -> list[str]:
    rows = [
        [
            v.claim.technique,
            f"{v.claim.speed}x, memory -{v.claim.memory:.0%}, compute -{v.claim.compute:.0%}, {v.claim.accuracy}",
            f"{v.speed:.2f}x, memory {-v.memory:+.0%}, compute {-v.compute:+.0%}",
            "-" if v.of_off is None else f"{v.of_off:.2f}x",
            v.reached,
        ]
        for v in verdicts(m)
    ]
    gated, dense = m.gated, m.dense
    speed_up, _ = m.whole_speed_up(DENSE) or (np.nan, np.nan)
    together = (
        f"{speed_up:.1f}x, memory {gated.state_bytes / dense.state_bytes - 1:+.0%}, "
        f"compute {m.macs(gated) / m.macs(dense) - 1:+.0%}"
    )
    rate = f"{m.rollouts_per_s:.0f} full rollouts/s on {run.threads} CPU threads"
    rows.append(
        ["all together", 'an open question there ("5x+", "6x", with quantisation)', together, "", "no quantisation"]
    )
    rows.append(["frame rate", "30 frames/s on one Orin AGX", rate, "", "another machine: not comparable"])
    return [
        "## The article's claims",
        "",
        "Each technique alone, beside what the article says of the technique that ours is inspired by (its baselines "
        "are its own, ours is the dense twin above). Memory: state bytes. Accuracy: not measured here.",
        "",
        *_table("| technique | article | here | against everything off | |", "lllrl", rows),
    ]


def _rates(m: Measured) -> list[str]:
    rows = [
        (r.variant.title, f"{r.times.rollouts_per_s:.1f}", f"{r.times.predicted_frames_per_s:.1f}") for r in m.variants
    ]
    rows.append(
        ("the default, mean over the whole stream", f"{m.rollouts_per_s:.1f}", f"{m.predicted_frames_per_s:.1f}")
    )
    return [
        "## Rates",
        "",
        f"From the median of observe, tick and assemble together. {ROLLOUT}",
        "",
        *_table("| variant | full rollouts/s | predicted frames/s |", "lrr", rows),
    ]
