"""The graph against PyTorch over a stream with carried state, and that the check can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.errors import InputError
from deploy.graphs import dense_state, gated_state
from deploy.parity import Check, compare
from deploy.parity_stream import parity_stream
from deploy.runtime import OnnxRuntime
from deploy.spec import ParityLimits
from deploy.torch_runtime import TorchRuntime
from genie.command import Command
from genie.config import load_config
from genie.data.sequence import Sequence
from genie.model import CONFIDENCE_SHAPE, GenieDrive
from genie.training.checkpoint import load_model, save_checkpoint


@pytest.mark.parametrize("form", ["gated", "dense"])
def test_same_forecasts_over_a_stream(
    model: GenieDrive, bundle: Path, dense_bundle: Path, stream: Sequence, form: str
) -> None:
    folder = bundle if form == "gated" else dense_bundle
    report = compare(TorchRuntime(model, form), OnnxRuntime(folder), stream, ticks=4)
    assert [c.what for c in report.checks(ParityLimits()) if not c.passed] == []
    assert 20 < report.miou[0] < 100, "the forecast has nothing to do with the truth"
    compared = {d.name for d in report.differences}
    state = gated_state(model.config) if form == "gated" else dense_state(model.config)
    assert compared == {"forecast.trajectory", "forecast.confidence", *state} - {"row"}


GIVEN_AND_MOVING = int(np.ravel_multi_index((1, 1, 0, 0), CONFIDENCE_SHAPE))  # what the stream reads, half a second on


@pytest.mark.parametrize(
    "perturbed",
    [
        ("layers.1.past_value.weight", 0, 0.01, "state"),
        ("trajectory.residual.bias", 0, 0.01, "trajectory"),
        ("invention.logits.bias", 0, -10.0, "differing voxels"),
        ("layers.1.attention.value.bias", 0, 0.5, "trajectory"),  # through the tokens alone
        ("confidence_of_origin", GIVEN_AND_MOVING, 0.01, "confidence"),
        ("gate.score.2.weight", 0, 20.0, "decided otherwise"),  # another order, so other columns
    ],
)
def test_a_perturbed_weight_is_caught(
    checkpoint: Path, bundle: Path, stream: Sequence, perturbed: tuple[str, int, float, str]
) -> None:
    weight, entry, amount, caught_by = perturbed
    model, _ = load_model(checkpoint)
    with torch.no_grad():
        model.state_dict()[weight].view(-1)[entry].add_(amount)
    failed = [c.what for c in compare_with(model, bundle, stream) if not c.passed]
    assert any(caught_by in what for what in failed), failed


def test_a_command_that_is_not_heard_is_caught(checkpoint: Path, bundle: Path, stream: Sequence) -> None:
    model, _ = load_model(checkpoint)
    assert not [c.what for c in compare_with(model, bundle, stream) if not c.passed]
    with torch.no_grad():
        model.trajectory.features.weight[:, -len(Command) :] = 0.0
    failed = [c.what for c in compare_with(model, bundle, stream) if not c.passed]
    assert failed and all("trajectory" in what or "voxels" in what for what in failed), failed


class Rearranged(TorchRuntime):
    """Tells a state whose first two occupied slots are exchanged, or moved by a centimetre."""

    moved_m = 0.0

    def state(self) -> Mapping[str, np.ndarray]:
        told = dict(super().state())
        names = [n for n in told if n.startswith("memory.")]
        first = np.flatnonzero(told["memory.stands_for"] > 0)[:2]
        for name in names if len(first) == 2 else []:
            told[name] = told[name].copy()
            told[name][first] = told[name][first[::-1]]
        told["memory.xy"] = told["memory.xy"] + np.float32(self.moved_m)
        return told


def test_slots_that_took_each_others_place_are_decided_and_not_computed_otherwise(
    checkpoint: Path, stream: Sequence
) -> None:
    model, _ = load_model(checkpoint)
    exchanged, moved = Rearranged(model), Rearranged(model)
    moved.moved_m = 0.01
    report = compare(TorchRuntime(model), exchanged, stream, ticks=4)
    assert report.decided_otherwise > 0
    assert all(c.passed for c in report.checks(ParityLimits()) if "decided" not in c.what)
    failed = [
        c.what for c in compare(TorchRuntime(model), moved, stream, ticks=4).checks(ParityLimits()) if not c.passed
    ]
    assert "state: largest difference" in failed


def compare_with(model: GenieDrive, bundle: Path, stream: Sequence) -> list[Check]:
    return compare(TorchRuntime(model), OnnxRuntime(bundle), stream, ticks=4).checks(ParityLimits())


def test_the_command_passes_and_fails(
    checkpoint: Path, bundle: Path, tmp_path: Path, geniedrive: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert geniedrive("parity", bundle, "--ticks", 2, "--threads", 1) == 0
    assert "state: largest difference" in capsys.readouterr().out
    other, _ = load_model(checkpoint)
    with torch.no_grad():
        other.tokenizer.columns.weight[0, 100] += 0.05
    save_checkpoint(tmp_path / "model.safetensors", other, load_config("tiny"), step=7)
    assert geniedrive("parity", bundle, "--checkpoint", tmp_path, "--ticks", 2, "--threads", 1) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out and "check failed: state" in said.err


def test_not_a_number_does_not_pass() -> None:
    assert not Check("x", float("nan"), 1.0).passed


def test_streams_that_cannot_be_compared_on(stream: Sequence, model: GenieDrive, tmp_path: Path) -> None:
    runtime = TorchRuntime(model)
    with pytest.raises(InputError, match="frames"):
        compare(runtime, runtime, stream, ticks=len(stream) + 1)
    with pytest.raises(InputError, match="scene-9999"):
        parity_stream(tmp_path, "scene-9999", 5)
    with pytest.raises(InputError, match="--dataroot"):
        parity_stream(tmp_path, None, 5)
