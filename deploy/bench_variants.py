"""Bundles of what is compared (genie.variants), all with the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from genie.variants import Variant

CONFIG = "edge"
SEED = 0
SOME = 10  # of so many frames of a whole stream, one for variants whose time does not depend on what they see


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
