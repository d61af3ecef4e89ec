"""What is compared: the dense twin, each technique alone, and the gated model. All have the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib.errors import InputError

CONFIG = "edge"
SEED = 0
_FULL = 2500
_ALL_ROWS = (1.0,)
# The bucket of (nearly) all columns keeps every row in every layer; one column fewer, and retention can be seen alone.
_NEARLY_ALL = (_FULL - 1, _FULL)
_FEWER_HEADS = (1.0, 1.0, 0.4, 0.4)


@dataclass(frozen=True)
class Variant:
    """form: "dense" or "gated". gate: what differs from the default GateConfig."""

    name: str
    title: str
    form: str = "gated"
    gate: dict[str, Any] = field(default_factory=dict)


DENSE, OFF, MEMORY, GATED = "dense", "off", "memory", "all"
VARIANTS = (
    Variant(DENSE, "dense twin, 5 past frames", "dense"),
    Variant(OFF, "gated form, everything off", gate={"buckets": (_FULL,), "keep": _ALL_ROWS, "memory": "frames"}),
    Variant(MEMORY, "memory fusion alone", gate={"buckets": (_FULL,), "keep": _ALL_ROWS}),
    Variant("retention", "token retention alone", gate={"buckets": _NEARLY_ALL, "memory": "frames"}),
    Variant(
        "heads",
        "variable heads alone",
        gate={"buckets": _NEARLY_ALL, "memory": "frames", "keep": _ALL_ROWS, "head_share": _FEWER_HEADS},
    ),
    Variant("gate", "change gate alone", gate={"memory": "frames", "keep": _ALL_ROWS}),
    Variant("gate-memory", "gate + memory", gate={"keep": _ALL_ROWS}),
    Variant(GATED, "gate + memory + retention (the default)"),
    Variant("all-heads", "all four", gate={"head_share": _FEWER_HEADS}),
)
VARIANT_OF = {v.name: v for v in VARIANTS}
SOME = 10  # of so many frames of a whole stream, one for variants whose time does not depend on what they see


def variants_named(names: Sequence[str]) -> list[Variant]:
    """In the order of VARIANTS, all where none is named; the dense twin and the default are always among them.

    Raises:
        InputError: no such variant.
    """
    known = [v.name for v in VARIANTS]
    for name in names:
        if name not in known:
            raise InputError(f"variant {name!r}", expected=f"one of {', '.join(known)}", fix="name one of these")
    return [v for v in VARIANTS if not names or v.name in (*names, DENSE, GATED)]


def export_variants(
    folder: Path,
    variants: Sequence[Variant],
    *,
    config_name: str = CONFIG,
    on_export: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Bundles of an untrained preset, weights of seed 0. The graphs are static, so weights do not change the work of a
    bucket; nor do they change much which bucket is taken, for the gate's learned score only ranks."""
    # Only here: bundles that exist are timed without torch, as on the car.
    import torch

    from deploy.export import export
    from genie.config import load_config
    from genie.model import GenieDrive
    from genie.training.checkpoint import save_checkpoint

    bundles = []
    for variant in variants:
        config = load_config(config_name)
        gate = dataclasses.replace(config.model.gate, **variant.gate)
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, gate=gate))
        torch.manual_seed(SEED)
        checkpoint = folder / f"{variant.name}.safetensors"
        save_checkpoint(checkpoint, GenieDrive(config.model), config, step=0)
        bundles.append(export(checkpoint, folder / variant.name, variant.form).folder)
        on_export()
    return bundles
