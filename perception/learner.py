"""The steps of a training: what those of the network of perception and of the world model have in common.

A learner knows its losses, its learning rate and its files; here is the order of a step, over several batches and
workers, and that a run can be stopped at any step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from perception.average import MovingAverage
from perception.interrupt import Interrupt
from perception.run_log import RunLog
from perception.workers import Workers


class Schedule(Protocol):
    """Of a TrainConfig: see there."""

    @property
    def accumulate(self) -> int: ...
    @property
    def average(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def gradient_clip(self) -> float: ...
    @property
    def checkpoint_every(self) -> int: ...


class Losses(Protocol):
    """A named tuple of scalars, one of them their sum."""

    @property
    def total(self) -> Tensor: ...
    def _asdict(self) -> dict[str, Any]: ...


class Learner(ABC):
    """A model with its optimizer and the moving average of its weights.

    absent_is_zero: a weight that a step did not use has a gradient of zero, not none: workers then average over the
    same weights, whatever each saw.
    """

    absent_is_zero = False

    def __init__(self, model: nn.Module, schedule: Schedule, team: Workers) -> None:
        self.module, self.schedule, self.team = model, schedule, team
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.average = MovingAverage(model, schedule.average)

    @abstractmethod
    def losses(self, step: int, index: int) -> Losses:
        """Of one batch, forward alone. index: which of the step's, over all workers."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0)."""

    @abstractmethod
    def told(self, means: Mapping[str, float]) -> str:
        """What people want to see of the losses, beside the progress bar."""

    @abstractmethod
    def save(self, run: Path, step: int) -> None:
        """What --resume reads, and the model as it would end here."""

    def averaged(self) -> dict[str, Tensor]:
        """The state that a run ends with."""
        return {**self.module.state_dict(), **(self.kept_average or {})}

    @property
    def kept_average(self) -> Mapping[str, Tensor] | None:
        """None where the run ends with the last weights."""
        return self.average.weights if self.average.decay else None

    def take_steps(self, run: Path, start: int, steps: int, interrupt: Interrupt) -> int:
        """Steps number `start` + 1 to `steps`, or fewer where it is interrupted; saved. Returns how many were taken in
        all."""
        schedule, team, model, step = self.schedule, self.team, self.module, start
        model.train()
        with RunLog(run, start, steps, self.told) if team.leads else nullcontext() as log:
            while step < steps and not team.any(interrupt.asked):
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rate(step)
                self.optimizer.zero_grad(set_to_none=True)
                for part in range(schedule.accumulate):
                    losses = self.losses(step, team.rank * schedule.accumulate + part)
                    (losses.total / schedule.accumulate).backward()
                if self.absent_is_zero:
                    _fill_gradients(model)
                team.average_gradients(model)
                torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
                self.optimizer.step()
                step += 1
                self.average.update(model, step)
                if log is not None:
                    log.step(step, losses._asdict())
                    if step % schedule.checkpoint_every == 0:
                        self.save(run, step)
        if team.leads:
            self.save(run, step)
        return step


def _fill_gradients(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def warmed_cosine(step: int, steps: int, warmup_steps: int, end: float) -> float:
    """Share of the learning rate at a step (from 0): a linear warm-up times a cosine that falls to `end`."""
    warm = min(1.0, (step + 1) / warmup_steps)
    done = min(1.0, step / steps)
    return warm * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * done)))
