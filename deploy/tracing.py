"""What makes tracing cheap: a trace needs the types and shapes of products, not their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_SKIPPED = (_ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.baddbmm.default, _ATEN._softmax.default)


class ShapesAlone(nn.Module):
    """A module whose products of matrices and softmax are zeros of the right shape and type. A CPU has slow kernels at
    best for FP16: tracing the graph of all columns would take a minute."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        with _WithoutProducts():
            told: tuple[Tensor, ...] = self.module(*tensors)
        return told


class _WithoutProducts(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call: Callable[..., Any] = func
        if func not in _SKIPPED:
            return call(*args, **(kwargs or {}))
        return _zeros(func, args)


def _zeros(func: Any, args: tuple[Any, ...]) -> Tensor:
    if func is _ATEN._softmax.default:
        return torch.zeros_like(args[0])
    left, right = args[-2:]
    product: Tensor = left.new_zeros(*left.shape[:-1], right.shape[-1])
    return product
