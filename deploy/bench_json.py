"""The comparison of the variants to compare: OUT/tick.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from calib.files import write_text
from deploy.bench_report import Run, run_tree, times_tree
from deploy.bench_results import Measured, targets, verdicts
from deploy.bench_tables import as_markdown
from deploy.bench_variants import CONFIG, SEED
from genie.variants import GATED


def write_comparison(out: Path, run: Run, measured: Measured) -> None:
    """Writes tick.md and tick.json, each whole or not at all."""
    write_text(out / "tick.json", _compact(as_tree(run, measured)))
    write_text(out / "tick.md", as_markdown(run, measured))


def _compact(tree: Mapping[str, Any]) -> str:
    """Numbers in lists on one line, to the microsecond."""
    text = json.dumps(_rounded(tree), indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s+", " ", found.group()), text) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def as_tree(run: Run, m: Measured) -> dict[str, Any]:
    """Everything that was measured, and what follows from it."""
    whole = {"p99": float(np.percentile(m.whole_ms, 99)), "mean": float(np.mean(m.whole_ms))}
    return {
        **run_tree(run),
        "config": CONFIG,
        "seed": SEED,
        "parameters": m.parameters,
        "targets": [asdict(target) for target in targets(m)],
        "variants": [
            {
                **times_tree(r.times),
                "title": r.variant.title,
                "form": r.variant.form,
                "gate": r.variant.gate,
                "speed_up": m.dense.tick_ms / r.tick_ms,
                "mix": m.mix_of(r),
                "macs_of_graphs": r.macs,
                "macs_per_tick": m.macs(r),
                "state_bytes": r.state_bytes,
                "cache_bytes": m.cache(r)._asdict(),
            }
            for r in m.variants
        ],
        "whole_stream": {
            **{name: {stage: asdict(s) for stage, s in times.later_ms.items()} for name, times in m.whole.items()},
            **{"tick_p99_and_mean": whole, "scene_cuts_ms": m.whole[GATED].cuts_ms, "rows": m.whole[GATED].rows},
            **{f"speed_up_to_{name}": m.whole_speed_up(name) for name in m.whole},
            **{"rollouts_per_s": m.rollouts_per_s, "predicted_frames_per_s": m.predicted_frames_per_s},
        },
        "attention_core": {"at_the_mix_ms": m.core_ms, "speed_up": m.core_speed_up},
        "scaling_ms": asdict(m.scaling),
        "claims": [{**asdict(v), "verdict": v.reached} for v in verdicts(m)],
    }
