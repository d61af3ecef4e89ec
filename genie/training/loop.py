"""The training loop: streams in, a run folder out. Interrupt it at any time; `--resume` goes on."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import torch
import yaml

from calib.errors import InputError
from calib.files import write_text
from genie.config import Config, to_tree
from genie.model import GenieDrive
from genie.training.batches import sample_batch
from genie.training.checkpoint import (
    check_same_model,
    load_optimizer,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from genie.training.confidence import measure_confidence
from genie.training.log import RunLog
from genie.training.losses import compute_losses
from genie.training.scenes import prepare_scenes, split_scenes
from genie.training.targets import TrainingScene


@dataclass
class Interrupt:
    """Set by the first SIGINT or SIGTERM; the loop then saves and ends."""

    asked: bool = False
    previous: dict[int, object] = field(default_factory=dict)

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def train(config: Config, dataroot: Path, run: Path, *, source: str, seed: int, resume: bool) -> bool:
    """Trains and writes the run folder. Returns False if it was interrupted (and saved).

    Raises:
        InputError: unusable data, a run folder that is in the way, or a checkpoint that does not fit.
    """
    torch.set_num_threads(config.train.threads)
    torch.manual_seed(seed)
    model = GenieDrive(config.model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.train.learning_rate, weight_decay=config.train.weight_decay
    )
    start = _open_run(run, config, model, optimizer, resume=resume)
    split = split_scenes(dataroot, source, config.train.holdout_scenes, config.train.most_scenes)
    write_text(
        run / "config.yaml", yaml.safe_dump({**to_tree(config), "seed": seed, "source": source}, sort_keys=False)
    )
    write_text(run / "split.yaml", yaml.safe_dump(split._asdict(), sort_keys=False))
    with Interrupt() as interrupt:
        step = start
        if start < config.train.steps:
            scenes = prepare_scenes(dataroot, source, split.train, interrupt)
            step = _run_steps(config, model, optimizer, scenes, run, start, seed, interrupt)
        if interrupt.asked:
            print(f"interrupted: saved at step {step}; go on with --resume")
            return False
        model.confidence_of_origin.copy_(measure_confidence(model.eval(), dataroot, source, split.held_out))
        save_checkpoint(run / "model.safetensors", model, config, step)
    return True


def _open_run(run: Path, config: Config, model: GenieDrive, optimizer: torch.optim.Optimizer, *, resume: bool) -> int:
    """The step to start from; a folder that holds a run is never overwritten by accident."""
    checkpoint = run / "checkpoint.safetensors"
    if not resume:
        if run.exists() and any(run.iterdir()):
            raise InputError(
                "the run folder is not empty",
                expected="a new or empty folder, or --resume",
                fix="add --resume to go on with that run, or choose another --out",
                path=run,
            )
        run.mkdir(parents=True, exist_ok=True)
        return 0
    if not checkpoint.is_file():
        raise InputError(
            "nothing to resume: the run folder holds no checkpoint",
            expected=f"{checkpoint.name} in it",
            fix="start afresh without --resume in another --out",
            path=run,
        )
    loaded = read_checkpoint(checkpoint)
    check_same_model(loaded, config.model, checkpoint)
    load_weights(model, loaded, checkpoint)
    load_optimizer(optimizer, loaded)
    return loaded.step


def _run_steps(
    config: Config,
    model: GenieDrive,
    optimizer: torch.optim.Optimizer,
    scenes: list[TrainingScene],
    run: Path,
    start: int,
    seed: int,
    interrupt: Interrupt,
) -> int:
    schedule = config.train
    step = start
    model.train()
    with RunLog(run, start, schedule.steps) as log:
        while step < schedule.steps and not interrupt.asked:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            # Seeded by the step: a resumed run sees the batches that it would have seen.
            batch = sample_batch(scenes, schedule, config.model.history, np.random.default_rng([seed, step]))
            losses = compute_losses(model, batch, schedule)
            optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
            optimizer.step()
            step += 1
            log.step(step, losses)
            if step % schedule.checkpoint_every == 0:
                _save(run, model, config, step, optimizer)
    _save(run, model, config, step, optimizer)
    return step


def learning_rate(step: int, config: Config) -> float:
    """Linear warm-up, then a cosine to 2 %."""
    schedule = config.train
    warm = min(1.0, (step + 1) / schedule.warmup_steps)
    done = min(1.0, step / schedule.steps)
    return schedule.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _save(run: Path, model: GenieDrive, config: Config, step: int, optimizer: torch.optim.Optimizer) -> None:
    save_checkpoint(run / "checkpoint.safetensors", model, config, step, optimizer)
    save_checkpoint(run / "model.safetensors", model, config, step)
