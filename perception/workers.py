"""The processes of one training, as torchrun starts them; alone, one that knows no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Workers:
    """rank: of this process, of `count`. device: where its model is."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this one writes the run folder."""
        return self.rank == 0

    def average_gradients(self, model: nn.Module) -> None:
        """Over the workers, in place: as if one had taken all batches in turn (train.accumulate)."""
        if self.count == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, mean in zip(gradients, (flat / self.count).split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether it is so anywhere: all stop at the same step."""
        if self.count == 1:
            return flag
        told = torch.tensor([float(flag)], device=self.device)
        torch.distributed.all_reduce(told)
        return bool(told > 0)

    def wait(self) -> None:
        """For all others."""
        if self.count > 1:
            torch.distributed.barrier()


@contextmanager
def workers() -> Iterator[Workers]:
    """This process among those of torchrun (WORLD_SIZE, RANK, LOCAL_RANK): NCCL on GPUs, Gloo on CPUs."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if count == 1:
        yield Workers(0, 1, device)
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(torch.distributed.get_rank(), count, device)
    finally:
        torch.distributed.destroy_process_group()
