"""Forecasters by name: the baselines, or a checkpoint by its path."""

from __future__ import annotations

from collections.abc import Callable

from calib.errors import InputError
from genie.forecaster import Forecaster
from genie.shipped import SHIPPED, checkpoint_path

BASELINES = ("copy", "ego-warp", "tracker", "tracker-fused", "constant-velocity")


def make_forecaster(spec: str, parts: tuple[str, ...] = (), form: str = "gated") -> Forecaster:
    """A baseline by name, else the checkpoint (file or run folder) at that path.

    Args:
        spec: one of BASELINES, of the shipped weights, or a path.
        parts: learned parts to zero (genie.checkpoint_forecaster.ABLATIONS); checkpoints only.
        form: "gated" or "dense"; checkpoints only.

    Raises:
        InputError: neither a baseline nor a usable checkpoint.
    """
    if spec not in BASELINES:
        return _load_checkpoint(spec, parts, form)
    if parts:
        raise InputError(
            f"{spec} has no learned parts ({', '.join(parts)})",
            expected="a checkpoint",
            fix="leave --ablate out",
        )
    from genie.baselines import ConstantVelocityForecaster, CopyForecaster, EgoWarpForecaster
    from genie.tracker_baseline import TrackerForecaster

    classes: dict[str, Callable[[], Forecaster]] = {
        "copy": CopyForecaster,
        "ego-warp": EgoWarpForecaster,
        "tracker": TrackerForecaster,
        "tracker-fused": lambda: TrackerForecaster(fused=True),
        "constant-velocity": ConstantVelocityForecaster,
    }
    return classes[spec]()


def _load_checkpoint(spec: str, parts: tuple[str, ...], form: str) -> Forecaster:
    path = checkpoint_path(spec)
    if not path.exists():
        raise InputError(
            "neither a baseline nor a file",
            expected=f"{', '.join((*SHIPPED, *BASELINES))}, a checkpoint or a run folder",
            fix="check the name, or train one with `geniedrive train`",
            path=path,
        )
    from genie.checkpoint_forecaster import load_forecaster

    return load_forecaster(path, parts, form)
