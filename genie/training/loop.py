"""The training loop: streams in, a run folder out. Interrupt it at any time; `--resume` goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml

from calib.errors import InputError
from calib.files import write_text
from genie.config import Config, to_tree
from genie.data.scenes import load_scenes
from genie.model import GenieDrive
from genie.training.batches import sample_batch, sample_motion
from genie.training.checkpoint import (
    check_same_model,
    checkpoint_file,
    load_optimizer,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from genie.training.confidence import measure_confidence
from genie.training.gate_score import fit_gate_score
from genie.training.losses import Losses, compute_losses, frame_losses, head_losses
from genie.training.scenes import Prepared, Split, prepare_scenes, split_scenes
from genie.training.stream_frames import StreamFrames, collect_frames
from perception.interrupt import Interrupt
from perception.learner import Learner, warmed_cosine
from perception.tensors import AVERAGE, checkpoint_to_resume, claim_run
from perception.workers import Workers, workers

HEADS = ("invention.", "motion.")  # what trains on frames of gated streams
FRAMES = "frames"  # folder in the run, while it trains on them


def train(
    config: Config, dataroot: Path, run: Path, *, source: str, seed: int, resume: bool, init: Path | None = None
) -> bool:
    """Trains and writes the run folder. Returns False if it was interrupted (and saved). Under torchrun each worker
    takes batches of its own, and the first writes. init: a checkpoint whose weights a new run begins with.

    Raises:
        InputError: unusable data, a run folder that is in the way, or a checkpoint that does not fit.
    """
    with workers() as team:
        return _train(config, dataroot, run, team, source=source, seed=seed, resume=resume, init=init)


def _train(
    config: Config,
    dataroot: Path,
    run: Path,
    team: Workers,
    *,
    source: str,
    seed: int,
    resume: bool,
    init: Path | None,
) -> bool:
    torch.set_num_threads(config.train.threads)
    torch.manual_seed(seed)
    model = GenieDrive(config.model)
    if init is not None and not resume:
        begun = read_checkpoint(init)
        check_same_model(begun, config.model, checkpoint_file(init))
        load_weights(model, begun, checkpoint_file(init))
    learner = _Learner(config, model.to(team.device), seed, team)
    start = _open_run(run, learner, resume=resume)
    split = split_scenes(dataroot, source, config.train.holdout_scenes, config.train.most_scenes)
    _check_gate_streams(config.train.gate_streams, split)
    if team.leads:
        told = {**to_tree(config), "seed": seed, "source": source}
        write_text(run / "config.yaml", yaml.safe_dump(told, sort_keys=False))
        write_text(run / "split.yaml", yaml.safe_dump(split._asdict(), sort_keys=False))
    with Interrupt() as interrupt:
        step = start
        if start < crop_steps(config):
            kept, again = config.train.crop_scenes, config.train.annotators
            learner.scenes = prepare_scenes(
                dataroot, source, split.train, interrupt, crops=kept, annotators=again, seed=seed
            )
            step = learner.take_steps(run, start, crop_steps(config), interrupt)
            del learner.scenes
        if crop_steps(config) <= step < all_steps(config):
            learner.heads_alone(begins=step == crop_steps(config))
            if team.leads:
                learner.save(run, step)  # ticking takes long; a run that begins here has saved nothing yet
            collect_frames(learner.model, dataroot, source, split.train, run / FRAMES, team, interrupt, seed=seed)
            if not team.any(interrupt.asked):
                learner.frames = StreamFrames(run / FRAMES)
                step = learner.take_steps(run, step, all_steps(config), interrupt)
        if interrupt.asked:
            print(f"interrupted: saved at step {step}; go on with --resume")
            return False
    if team.leads:
        _finish(learner, dataroot, source, split, run, step)
        shutil.rmtree(run / FRAMES, ignore_errors=True)
    team.wait()
    return True


class _Learner(Learner):
    """What learns. scenes, frames: what it learns from, once they are there."""

    scenes: Prepared
    frames: StreamFrames

    def __init__(self, config: Config, model: GenieDrive, seed: int, team: Workers) -> None:
        super().__init__(model, config.train, team)
        self.config, self.model, self.seed = config, model, seed

    def save(self, run: Path, step: int) -> None:
        checkpoint = run / "checkpoint.safetensors"
        save_checkpoint(checkpoint, self.model, self.config, step, self.optimizer, self.kept_average)
        save_checkpoint(run / "model.safetensors", self.result(), self.config, step)

    def result(self) -> GenieDrive:
        """The averaged model, on the CPU."""
        model = GenieDrive(self.config.model)
        model.load_state_dict(self.averaged())
        return model.eval()

    def rate(self, step: int) -> float:
        return learning_rate(step, self.config)

    def heads_alone(self, *, begins: bool) -> None:
        """Tokens are left as they are: where that begins, as the run would end without it."""
        if begins:
            self.model.load_state_dict(self.averaged())
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith(HEADS))

    def told(self, means: Mapping[str, float]) -> str:
        return (
            f"motion {means['motion']:.2f} m (measured {means['motion_measured']:.2f}), "
            f"fill {means['fill']:.3f} (copied {means['fill_copied']:.3f})"
        )

    def losses(self, step: int, index: int) -> Losses:
        schedule, device = self.config.train, self.team.device
        # Seeded by the step: a resumed run sees the batches that it would have seen, and drops the same.
        rng = np.random.default_rng([self.seed, step, index] if index else [self.seed, step])
        torch.manual_seed(int(np.random.SeedSequence([self.seed, step, index]).generate_state(1)[0]))
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.bf16):
            if step < schedule.heads_first:
                few = sample_motion(self.scenes.motion, schedule.motion_frames, rng)
                return head_losses(self.model, few.to(device), schedule)
            if step >= crop_steps(self.config):
                frames = self.frames.sample(schedule.frame_batch, schedule.frame_columns, rng)
                return frame_losses(self.model, frames.to(device), schedule)
            batch = sample_batch(self.scenes, schedule, self.config.model.history, rng)
            return compute_losses(self.model, batch.to(device), schedule)


def _open_run(run: Path, learner: _Learner, *, resume: bool) -> int:
    """The step to start from; a folder that holds a run is never overwritten by accident."""
    if not resume:
        claim_run(run, leads=learner.team.leads)
        learner.team.wait()
        run.mkdir(parents=True, exist_ok=True)
        return 0
    checkpoint = checkpoint_to_resume(run)
    loaded = read_checkpoint(checkpoint)
    check_same_model(loaded, learner.config.model, checkpoint)
    load_weights(learner.model, loaded, checkpoint)
    load_optimizer(learner.optimizer, loaded)
    averaged = {n[len(AVERAGE) :]: t for n, t in loaded.tensors.items() if n.startswith(AVERAGE)}
    learner.average.restore(averaged or learner.model.state_dict())
    return loaded.step


def _check_gate_streams(count: int, split: Split) -> None:
    """Before the training, not after it."""
    if count == 1 or count > len(split.train):
        raise InputError(
            f"train.gate_streams is {count}, with {len(split.train)} scenes to train on",
            expected="0, or from 2 (one judges the fit) to as many as there are",
            fix="choose another number, or more scenes",
        )


def _finish(learner: _Learner, dataroot: Path, source: str, split: Split, run: Path, step: int) -> None:
    """What is measured with the trained weights, and saved with them."""
    model, streams = learner.result(), split.train[-learner.config.train.gate_streams :]
    if learner.config.train.gate_streams:
        fitted = fit_gate_score(model, (scene.sequence for scene in load_scenes(dataroot, source, streams)))
        print(f"gate score: explains {fitted.by_score:.2f} of the variance, {fitted.by_prior:.2f} before it was fitted")
    model.confidence_of_origin.copy_(measure_confidence(model, dataroot, source, split.held_out))
    save_checkpoint(run / "model.safetensors", model, learner.config, step)


def crop_steps(config: Config) -> int:
    """The heads' first ones included."""
    return config.train.heads_first + config.train.steps


def all_steps(config: Config) -> int:
    """Those on frames of gated streams included."""
    return crop_steps(config) + config.train.frame_steps


def learning_rate(step: int, config: Config) -> float:
    """Linear warm-up, then a cosine to 2 %; so for the heads alone first, then for all, then on frames."""
    schedule = config.train
    steps = schedule.steps
    if step < schedule.heads_first:
        steps = schedule.heads_first
    elif step >= crop_steps(config):
        step, steps = step - crop_steps(config), schedule.frame_steps
    else:
        step -= schedule.heads_first
    return schedule.learning_rate * warmed_cosine(step, steps, schedule.warmup_steps, 0.02)
