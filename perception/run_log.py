"""What a run tells: a progress bar for people, metrics.jsonl and TensorBoard scalars for tools."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

LOG_EVERY = 20


class RunLog:
    """Means over the last 20 steps, written as they are complete."""

    def __init__(self, run: Path, start: int, steps: int, told: Callable[[Mapping[str, float]], str]) -> None:
        """
        Args:
            told: beside the progress bar, of the means by name.
        """
        self._run, self._start, self._told = run, start, told
        self._began = time.monotonic()
        self._recent: list[dict[str, torch.Tensor]] = []
        self._board = SummaryWriter(str(run / "tensorboard"))
        self._progress = Progress(
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )  # fmt: skip
        self._task = self._progress.add_task("", total=steps, completed=start)

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._board.close()

    def step(self, step: int, losses: Mapping[str, torch.Tensor]) -> None:
        """Records step number `step` (from 1)."""
        self._recent.append({name: value.detach() for name, value in losses.items()})
        self._progress.update(self._task, completed=step)
        if step % LOG_EVERY:
            return
        means = {name: float(torch.stack([r[name] for r in self._recent]).mean()) for name in losses}
        self._recent.clear()
        for name, value in means.items():
            self._board.add_scalar(f"train/{name}", value, step)
        rate = (step - self._start) / (time.monotonic() - self._began)
        line = {"step": step, "steps_per_s": round(rate, 2), **{k: round(v, 5) for k, v in means.items()}}
        with (self._run / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._progress.update(self._task, description=self._told(means))
