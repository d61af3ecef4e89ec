"""The training of perception: prepared keyframes in, a run folder out. Interrupt it at any time; --resume goes on.

Each batch sees lidar alone, cameras alone or both, so that one network serves all three; single cameras are left out at
random. Frames of one batch share a rig (perception.model.Inputs).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from calib.files import write_text
from perception.backbone import load_resnet18, read_resnet18
from perception.checkpoint import check_same_model, checkpoint_path, read_checkpoint, save_checkpoint
from perception.config import Config, TrainConfig, to_tree
from perception.frames import FrameStore
from perception.interrupt import Interrupt
from perception.learner import Learner, warmed_cosine
from perception.losses import Losses, class_weights, compute_losses
from perception.model import OccupancyNet
from perception.sampling import FrameNames, frame_names, sample_batch
from perception.tensors import AVERAGE, checkpoint_to_resume, claim_run, load_optimizer, load_weights
from perception.types import GRID, NUM_CLASSES
from perception.workers import Workers, workers


def train(
    config: Config,
    store: FrameStore,
    scenes: Mapping[str, list[str]],
    run: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    backbone: Path | None = None,
    weights: str | Path | None = None,
) -> bool:
    """Trains on frames of the store (scene -> tokens) and writes the run folder. Returns False if it was interrupted
    (and saved). Under torchrun each worker takes batches of its own, and the first writes.

    Args:
        backbone: ResNet-18 weights of torchvision to begin with.
        weights: of the whole network to begin with, as `read_checkpoint` takes them: training goes on from there, with
            a schedule and an optimizer of its own.

    Raises:
        InputError: a run folder that is in the way, a checkpoint or a backbone that does not fit, a damaged frame.
    """
    with workers() as team:
        torch.set_num_threads(config.train.threads)
        torch.manual_seed(seed)
        model = OccupancyNet(config.model)
        if backbone is not None and model.camera is not None:
            load_resnet18(model.camera.backbone, read_resnet18(backbone), backbone)
        if weights is not None:
            begin_with(model, config, weights)
        learner = _Learner(config, model.to(team.device), store, seed, team)
        start = _open_run(run, learner, resume=resume)
        names = frame_names(store, scenes)
        if team.leads:
            told = {**to_tree(config), "seed": seed}
            write_text(run / "config.yaml", yaml.safe_dump(told, sort_keys=False))
        counts = torch.from_numpy(_class_counts(store, scenes, config.train))
        if not start:
            if weights is None:
                model.head.start_from(counts.to(team.device))
            learner.average.restore(model.state_dict())
        learner.names = names
        learner.of_class = class_weights(counts.sum(1).float(), config.train.rarity).to(team.device)
        with Interrupt() as interrupt:
            step = learner.take_steps(run, start, config.train.steps, interrupt)
            if interrupt.asked:
                print(f"interrupted: saved at step {step}; go on with --resume")
                return False
        team.wait()
        return True


def begin_with(model: OccupancyNet, config: Config, weights: str | Path) -> None:
    """
    Raises:
        InputError: no such checkpoint, or one of another network.
    """
    stored, path = read_checkpoint(weights), checkpoint_path(weights)
    check_same_model(stored, config.model, path)
    load_weights(model, stored, path)


class _Learner(Learner):
    """What learns. names, of_class: what it learns from, and how much each class weighs; known once the run is open."""

    absent_is_zero = True  # of a path that the batch left out
    names: FrameNames
    of_class: Tensor

    def __init__(self, config: Config, model: OccupancyNet, store: FrameStore, seed: int, team: Workers) -> None:
        super().__init__(model, config.train, team)
        self.config, self.model, self.store, self.seed = config, model, store, seed

    def save(self, run: Path, step: int) -> None:
        checkpoint = run / "checkpoint.safetensors"
        save_checkpoint(checkpoint, self.model, self.config, step, self.optimizer, self.kept_average)
        save_checkpoint(run / "model.safetensors", self.result(), self.config, step)

    def result(self) -> OccupancyNet:
        """The averaged network, on the CPU."""
        model = OccupancyNet(self.config.model)
        model.load_state_dict(self.averaged())
        return model.eval()

    def rate(self, step: int) -> float:
        return learning_rate(step, self.config.train)

    def told(self, means: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {value:.3f}" for name, value in means.items())

    def losses(self, step: int, index: int) -> Losses:
        # Seeded by the step: a resumed run sees the batches that it would have seen.
        rng = np.random.default_rng([self.seed, step, index])
        device, schedule = self.team.device, self.config.train
        batch = sample_batch(self.store, self.names, self.config, rng).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.bf16):
            perceived = self.model(batch.inputs)
        generator = torch.Generator().manual_seed(self.seed + step)
        return compute_losses(perceived, batch.truth, batch.inputs.present, self.of_class, schedule, generator)


def _open_run(run: Path, learner: _Learner, *, resume: bool) -> int:
    """The step to start from."""
    if not resume:
        claim_run(run, leads=learner.team.leads)
        learner.team.wait()
        run.mkdir(parents=True, exist_ok=True)
        return 0
    path = checkpoint_to_resume(run)
    stored = read_checkpoint(path)
    check_same_model(stored, learner.config.model, path)
    load_weights(learner.model, stored, path)
    load_optimizer(learner.optimizer, stored)
    learner.average.restore(stored.part(AVERAGE) or learner.model.state_dict())
    return int(stored.metadata["step"])


def _class_counts(store: FrameStore, scenes: Mapping[str, list[str]], config: TrainConfig) -> NDArray[np.int64]:
    """Voxels of each class that count, by height [K, Z], in every third frame."""
    heights = GRID.shape[2]
    counts = np.zeros(NUM_CLASSES * heights, np.int64)
    level = np.broadcast_to(np.arange(heights), GRID.shape)
    for scene, tokens in scenes.items():
        for token in tokens[::3]:
            frame = store.read(scene, token)
            seen = frame.counts(config.mask)
            kind = frame.semantics[seen].astype(np.int64) * heights + level[seen]
            counts += np.bincount(kind, minlength=len(counts))
    return counts.reshape(NUM_CLASSES, heights)


def learning_rate(step: int, schedule: TrainConfig) -> float:
    """Linear warm-up, then a cosine to 1 %."""
    return schedule.learning_rate * warmed_cosine(step, schedule.steps, schedule.warmup_steps, 0.01)
