"""The moving average of the weights: what a run ends with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential, over the steps; early ones count less, so that what training began with is forgotten at once.

    weights: float tensors by name, as in the model's state.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """decay: 0 follows the weights."""
        self.decay = decay
        self.weights = {n: t.detach().clone() for n, t in model.state_dict().items() if t.is_floating_point()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """step: from 1."""
        decay = min(self.decay, step / (step + 10.0))
        state = model.state_dict()
        for name, mean in self.weights.items():
            mean.lerp_(state[name], 1.0 - decay)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        for name, mean in self.weights.items():
            mean.copy_(weights[name])
