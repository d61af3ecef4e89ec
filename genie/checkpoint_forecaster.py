"""A checkpoint as a forecaster for evaluation: in its gated form or as its dense twin, whole or with parts zeroed."""

from __future__ import annotations

from pathlib import Path

import torch

from calib.errors import InputError
from genie.forecaster import Forecaster
from genie.gated_forecaster import GatedForecaster
from genie.model import GenieDrive
from genie.model_forecaster import ModelForecaster
from genie.training.checkpoint import load_model

ABLATIONS = ("motion", "correction", "invention", "fill", "evidence")
FORMS = ("gated", "dense")


def check_ablations(parts: tuple[str, ...]) -> None:
    for part in parts:
        if part not in ABLATIONS:
            raise InputError(f"no part {part!r} to ablate", expected=", ".join(ABLATIONS), fix="choose one of them")


def zero_parts(model: GenieDrive, parts: tuple[str, ...]) -> GenieDrive:
    """Zeroes learned weights in place: `correction` of the measured motion, `motion` (nothing moves but the ego),
    `invention` (the copied ground remains)."""
    with torch.no_grad():
        if "correction" in parts or "motion" in parts:
            model.motion.residual.weight.zero_()
            model.motion.residual.bias.zero_()
        if "motion" in parts:
            model.motion.measured_scale.zero_()
        if "invention" in parts:
            model.invention.forget()
    return model


def load_forecaster(path: Path, parts: tuple[str, ...] = (), form: str = "gated") -> Forecaster:
    """A checkpoint (file or run folder).

    Args:
        parts: of ABLATIONS, to zero: learned weights, or "fill" (cells outside the observation stay free) and
            "evidence" (every static voxel comes from the present frame).
        form: "gated", as on the car, every frame a tick; "dense", its twin, which computes every column.
    """
    path = Path(path)
    if (path / "manifest.json").is_file():
        raise InputError(
            "an export directory", expected="a checkpoint", fix="use the run folder it came from", path=path
        )
    if form not in FORMS:
        raise InputError(f"form {form!r}", expected=f"one of {', '.join(FORMS)}", fix="choose one of these")
    check_ablations(parts)
    model, _ = load_model(path)
    of_a_run = path.name in ("model.safetensors", "checkpoint.safetensors")
    name = path.parent.name if of_a_run else path.name.removesuffix(".safetensors")
    make = GatedForecaster if form == "gated" else ModelForecaster
    return make(zero_parts(model, parts), name, show_fill="fill" not in parts, keep_evidence="evidence" not in parts)
