"""`python tools/training_cost.py DATAROOT [CONFIG]`: what one training step takes, counted and timed on the CPU.

FLOPs of the forward and the backward pass (torch.utils.flop_counter), bytes kept from the one for the other, and the
seconds that one process takes to sample a batch: docs/training.md computes hours on GPUs from them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from genie.config import load_config
from genie.model import GenieDrive
from genie.training.batches import sample_batch
from genie.training.loop import Interrupt
from genie.training.losses import compute_losses
from genie.training.scenes import prepare_scenes, split_scenes

BATCHES = 10


def main(dataroot: Path, name: str = "edge") -> None:
    config = load_config(name)
    torch.manual_seed(0)
    model = GenieDrive(config.model)
    scenes = split_scenes(dataroot, "stream", 1).train[:1]
    began = time.perf_counter()
    with Interrupt() as interrupt:
        prepared = prepare_scenes(dataroot, "stream", scenes, interrupt)
    print(f"preparing {scenes[0]}: {time.perf_counter() - began:.1f} s")
    rng, times = np.random.default_rng(0), []
    for _ in range(BATCHES):
        began = time.perf_counter()
        batch = sample_batch(prepared, config.train, config.model.history, rng)
        times.append(time.perf_counter() - began)
    print(f"sampling a batch of {config.train.batch}: median {median(times):.3f} s of {BATCHES}")
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    began = time.perf_counter()
    with counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = compute_losses(model, batch, config.train)
        losses.total.backward()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"one step: {counter.get_total_flops() / 1e9:.1f} GFLOP, {time.perf_counter() - began:.1f} s here")
    print(f"kept for the backward pass: {sum(kept.values()) / 1e6:.0f} MB; weights, gradients, AdamW, average: "
          f"{5 * 4 * parameters / 1e6:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
