"""A perception in FP16 and INT8, by the means of the world model (deploy.half, deploy.quantize).

Each BatchNorm goes into the convolution before it. FP16: convolutions and what they tell; FP32 stay GroupNorm, softmax,
and where sensors look. INT8: every convolution but those of KEPT_FP32.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deploy.half import CastConv2d, Fp32GroupNorm
from deploy.quantize import quantized
from perception.model import Inputs, OccupancyNet

KEPT_FP32: tuple[str, ...] = ()


def in_precision(model: OccupancyNet, precision: str, frames: Iterable[Inputs] | None) -> OccupancyNet:
    """The network as its graph computes; the same one for fp32.

    Args:
        frames: for int8, what shows the ranges of all activations.

    Raises:
        InputError, CheckFailed: as deploy.quantize.quantized.
    """
    if precision == "fp16":
        return in_half(model)
    if precision == "int8":
        assert frames is not None
        return quantized(without_batch_norm(model), partial(_run, frames=frames), KEPT_FP32)
    return model


def _run(model: OccupancyNet, frames: Iterable[Inputs]) -> None:
    for inputs in frames:
        model(inputs)


def without_batch_norm(model: OccupancyNet) -> OccupancyNet:
    """A copy that says the same, in evaluation."""
    fused = copy.deepcopy(model).eval()
    for parent in fused.modules():
        children = list(parent.named_children())
        for (name, convolution), (after, norm) in pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, after, nn.Identity())
    return fused


def in_half(model: OccupancyNet) -> OccupancyNet:
    """A copy in FP16, but for the islands; `model` is left as it is."""
    half = without_batch_norm(model)
    for parent in list(half.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(parent, name, _as(CastConv2d, child).half())
            elif isinstance(child, nn.GroupNorm):
                setattr(parent, name, _as(Fp32GroupNorm, child))
    return half


def _as(kind: type[nn.Module], module: nn.Module) -> nn.Module:
    """A module of a kind that differs in what it computes in alone."""
    cast = kind.__new__(kind)
    cast.__dict__.update(module.__dict__)
    return cast.eval()
