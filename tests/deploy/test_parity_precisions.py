"""Every precision is held to PyTorch in FP32, and the check can fail for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deploy.parity import Check, compare
from deploy.parity_free import FreeRun, run_free
from deploy.runtime import OnnxRuntime
from deploy.spec import ParityLimits, read_manifest
from deploy.torch_runtime import TorchRuntime
from genie.data.sequence import Sequence
from genie.model import GenieDrive
from genie.training.checkpoint import load_model

TICKS = 3


def checks(model: GenieDrive, folder: Path, stream: Sequence) -> list[Check]:
    reference, candidate = TorchRuntime(model), OnnxRuntime(folder, threads=1)
    limits = candidate.manifest.limits
    report = compare(reference, candidate, stream, TICKS)
    return [*report.checks(limits), *run_free(reference, candidate, stream, TICKS).checks(limits)]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_precision_is_within_its_limits_and_a_perturbed_weight_is_not(
    checkpoint: Path, bundles: dict[str, Path], stream: Sequence, precision: str
) -> None:
    model, _ = load_model(checkpoint)
    assert [c for c in checks(model, bundles[precision], stream) if not c.passed] == []
    with torch.no_grad():
        model.layers[1].attention.value.weight.mul_(-1.0)
    failed = [c.what for c in checks(model, bundles[precision], stream) if not c.passed]
    assert any("state: mean" in what for what in failed), failed


def test_limits_are_wider_the_fewer_bits_there_are(bundles: dict[str, Path]) -> None:
    fp32, fp16, int8 = (read_manifest(bundles[p]).limits for p in ("fp32", "fp16", "int8"))
    assert fp32 == ParityLimits()
    for name in ("state_max", "state_mean", "trajectory_max", "miou_difference"):
        assert getattr(fp32, name) <= getattr(fp16, name) <= getattr(int8, name)
    assert fp16.miou_difference <= 0.1 and int8.miou_difference <= 0.5 and int8.more_columns <= 0.05


def test_more_columns_are_a_share_of_the_references() -> None:
    assert FreeRun((200, 211), (50.0, 50.0)).more_columns == pytest.approx(0.055)
    assert FreeRun((0, 0), (50.0, 50.0)).more_columns == 0.0, "the dense form selects none"
    (_, selected) = FreeRun((200, 211), (50.0, 50.0)).checks(ParityLimits(more_columns=0.05))
    assert not selected.passed


def test_the_command_tells_precision_columns_and_a_backend_that_is_not_there(
    bundles: dict[str, Path], geniedrive: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert geniedrive("parity", bundles["fp16"], "--ticks", 1, "--threads", 1) == 0
    told = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
    assert "fp16 against PyTorch in fp32" in told and "columns selected" in told
    assert geniedrive("parity", bundles["fp16"], "--against", "torch", "--backend", "trt", "--ticks", 1) == 2
    assert "TensorRT" in capsys.readouterr().err
