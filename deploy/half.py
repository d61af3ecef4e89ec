"""FP16 by casting the module: products of matrices, tokens and what is cached of them in FP16, islands of FP32 around.

FP32 stay: every LayerNorm and softmax; positions, poses and whatever else indexes the grid; the change gate; the
heads that tell metres and radians, which cost next to nothing; the means of the fused memory, summed up for minutes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from genie.model import GenieDrive

FP32_PARTS = ("gate", "motion", "trajectory")  # of the model: computed in FP32 from FP16 tokens
# Of a gated state, in FP16 as the layers compute them, by the beginning of the name: keys_0, values_0, ...
FP16_STATE = ("keys_", "values_", "encoded", "tokens", "memory.keys_", "memory.values_")


class CastLinear(nn.Linear):
    """Takes its input in whatever type it comes; computes and tells in that of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


class CastConv2d(nn.Conv2d):
    """As CastLinear."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Fp32GroupNorm(nn.GroupNorm):
    """As Fp32LayerNorm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class Fp32LayerNorm(nn.LayerNorm):
    """Computes in FP32, tells in the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


def in_half(model: GenieDrive) -> GenieDrive:
    """A copy in FP16, but for the islands; `model` is left as it is."""
    half = copy.deepcopy(model).eval()
    for name, part in half.named_children():
        dtype = torch.float32 if name in FP32_PARTS else torch.float16
        for parent in part.modules():
            for child_name, child in parent.named_children():
                setattr(parent, child_name, _cast(child, dtype))
        setattr(half, name, _cast(part, dtype))
    half.tokenizer.codes = half.tokenizer.codes.half()
    return half


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A Linear or LayerNorm as one of the above, with the same parameters; anything else as it is."""
    if isinstance(module, nn.Linear):
        cast = CastLinear(module.in_features, module.out_features, module.bias is not None)
        cast.load_state_dict(module.state_dict())
        return cast.to(dtype).eval()
    if isinstance(module, nn.LayerNorm):
        norm = Fp32LayerNorm(module.normalized_shape, module.eps)
        norm.load_state_dict(module.state_dict())
        return norm.eval()
    return module


def as_carried(model: GenieDrive, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A gated state by name, tokens and what is cached of them in the type in which the model has them."""
    dtype = model.tokenizer.codes.dtype
    return {name: value.to(dtype) if name.startswith(FP16_STATE) else value for name, value in state.items()}
