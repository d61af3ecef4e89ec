"""The comparison: the gated model, each technique alone and their dense twin, exported from the same weights and timed.

export     a bundle for each variant
turns      all variants over the same frames, frame by frame
whole      the default over every frame, the dense twin between: at the buckets that a stream really takes
scaling    each bucket, the attention core, and how both grow
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from calib.errors import InputError
from deploy.bench import measure
from deploy.bench_macs import cache_bytes, macs_of_graphs, state_bytes
from deploy.bench_results import Measured, VariantResult
from deploy.bench_scaling import Report, free_bytes, measure_scaling
from deploy.bench_streams import Streams
from deploy.bench_variants import CONFIG, SOME, export_variants
from deploy.spec import WEIGHTS_FILE, read_manifest
from genie.variants import DENSE, GATED, MEMORY, Variant

_COMPARED = (GATED, DENSE, MEMORY)  # over the whole stream
# ONNX Runtime keeps what a graph once needed: of a variant that reads 15,000 keys for 2500 columns this much.
_HELD_BYTES = 2_400_000_000


def compare(
    streams: Streams,
    variants: Sequence[Variant],
    *,
    rounds: int,
    threads: int,
    report: Report,
    config_name: str = CONFIG,
) -> Measured:
    """
    Args:
        variants: the dense twin and the default among them (genie.variants.variants_named).
        rounds: runs of each graph that is timed alone.
        report: called as the work goes on.

    Raises:
        InputError: a scene is too short, or there is too little memory.
    """
    from genie.training.checkpoint import load_model

    _check_memory(variants)
    with tempfile.TemporaryDirectory(prefix="geniedrive-bench-") as name:
        folder, done = Path(name), itertools.count(1)
        bundles = export_variants(
            folder, variants, config_name=config_name, on_export=lambda: report("export", next(done), len(variants))
        )
        turns, total = itertools.count(1), sum(clip.ticks for clip in streams.short)
        times = measure(bundles, streams.short, threads=threads, on_tick=lambda: report("variants", next(turns), total))
        by_name = {v.name: b for v, b in zip(variants, bundles, strict=True)}
        compared, gated, frames = [n for n in _COMPARED if n in by_name], by_name[GATED], itertools.count(1)
        whole = measure(
            [by_name[name] for name in compared],
            streams.whole(),
            every=[1 if name == GATED else SOME for name in compared],
            threads=threads,
            on_tick=lambda: report("whole stream", next(frames), 0),
        )
        model, _ = load_model(gated / WEIGHTS_FILE)
        scaling = measure_scaling(
            gated, model.eval(), next(streams.whole()), folder, rounds=rounds, threads=threads, report=report
        )
        manifests = [read_manifest(bundle) for bundle in bundles]
        for variant, variant_times in zip(variants, times, strict=True):
            variant_times.name = variant.name
        results = [
            VariantResult(variant, t, macs_of_graphs(bundle, m), state_bytes(m), cache_bytes(bundle, m))
            for variant, t, bundle, m in zip(variants, times, bundles, manifests, strict=True)
        ]
    return Measured(
        results, dict(zip(compared, whole, strict=True)), scaling, sum(p.numel() for p in model.parameters())
    )


def _check_memory(variants: Sequence[Variant]) -> None:
    needs = sum(_HELD_BYTES for v in variants if v.form == "dense" or v.gate.get("memory") == "frames")
    if free_bytes() < needs:
        raise InputError(
            f"{free_bytes() / 1e9:.1f} GB of memory free",
            expected=f"{needs / 1e9:.1f} GB for these variants",
            fix="close other programs, or name fewer variants with --variant (gate-memory takes little)",
        )
