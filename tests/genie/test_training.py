"""A run learns, can be cut at any time, and goes on as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.errors import InputError
from genie.config import Config, load_config
from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate
from genie.model import CONFIDENCE_SHAPE, GenieDrive
from genie.training import loop
from genie.training.batches import sample_batch
from genie.training.checkpoint import load_model, read_checkpoint, save_checkpoint
from genie.training.loop import FRAMES, train
from genie.training.losses import compute_losses
from genie.training.scenes import prepare_scenes
from perception.average import MovingAverage
from perception.interrupt import Interrupt

SMALL = [
    "model.width=32", "model.layers=1", "model.invented=256", "model.decoder_width=32", "train.batch=2",
    "train.steps=6",
    "train.invented_per_crop=16", "train.motion_frames=8", "train.holdout_scenes=1", "train.checkpoint_every=3",
    "train.crop_columns=13", "train.threads=1", "train.annotators=0", "train.heads_first=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def town_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes, no longer than a run needs: each run prepares them anew."""
    root = tmp_path_factory.mktemp("short") / "data"
    generate(root, SynthConfig(scenes=3, seconds=4.5, seed=5))
    return root


def small(*more: str) -> Config:
    return load_config("tiny", [*SMALL, *more])


def run_training(config: Config, root: Path, out: Path, resume: bool = False) -> bool:
    return train(config, root, out, source="stream", seed=0, resume=resume)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """Those that a step changes."""
    model = load_model(run)[0]
    return {name: parameter.detach() for name, parameter in model.named_parameters() if not name.startswith("gate.")}


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Mean absolute difference: of a gradient that is all but zero, Adam takes the sign, which rounding may turn."""
    return float(torch.cat([(a[name] - b[name]).abs().reshape(-1) for name in b]).mean())


def test_a_run_folder_is_complete_and_loads(town_root: Path, tmp_path: Path) -> None:
    assert run_training(small("train.steps=20"), town_root, tmp_path / "run")
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {
        "checkpoint.safetensors", "config.yaml", "metrics.jsonl", "model.safetensors", "split.yaml", "tensorboard",
    }  # fmt: skip
    model, config = load_model(tmp_path / "run")
    assert config.model.width == 32
    confidence = model.confidence_of_origin
    assert (confidence > 0.05).all() and (confidence <= 1).all()
    assert confidence.shape == CONFIDENCE_SHAPE
    given, moves = confidence[1], confidence[:, 1]
    assert (given[:, 0, 0] > given[:, -1, 0]).all(), "half a second ahead must be surer than three"
    assert moves[0, -1, 0] < moves[1, -1, 0], "an expected way is not a given one"


def test_a_checkpoint_holds_weights_and_moments_of_its_step(town_root: Path, tmp_path: Path) -> None:
    """That resuming leads to the same weights is the next test's."""
    run_training(small("train.steps=3"), town_root, tmp_path / "cut")
    first = read_checkpoint(tmp_path / "cut/checkpoint.safetensors")
    assert first.step == 3
    run_training(small(), town_root, tmp_path / "cut", resume=True)
    second = read_checkpoint(tmp_path / "cut/checkpoint.safetensors")
    assert second.step == 6
    assert second.tensors.keys() == first.tensors.keys()
    counters = [name for name in second.tensors if name.startswith("optimizer.") and name.endswith(".step")]
    assert counters and all(second.tensors[name] == 6 for name in counters), "the optimiser went on, not anew"


def test_an_interrupted_run_saves_exits_0_and_resumes_to_the_same_weights(town_root: Path, tmp_path: Path) -> None:
    overrides = [item for text in [*SMALL, "train.steps=12"] for item in ("--set", text)]
    command = [
        sys.executable, "-m", "genie.cli.main", "train", "--config", "tiny", "--dataroot", str(town_root), "--out",
        str(tmp_path / "cut"), *overrides,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ})
    checkpoint = tmp_path / "cut/checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, output
    cut_at = read_checkpoint(checkpoint).step
    assert 3 <= cut_at <= 12
    subprocess.run([*command, "--resume"], check=True, capture_output=True, timeout=240)
    run_training(small("train.steps=12"), town_root, tmp_path / "whole")
    whole, resumed = (load_model(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=2e-4, rtol=1e-3, msg=name)


def test_training_lowers_the_loss_on_what_it_saw(town_root: Path, tmp_path: Path) -> None:
    config = small("train.steps=120", "train.motion_frames=32", "train.checkpoint_every=1000")
    run_training(config, town_root, tmp_path / "run")
    trained, _ = load_model(tmp_path / "run")
    torch.manual_seed(0)
    untrained = GenieDrive(config.model).eval()
    scenes = prepare_scenes(town_root, "stream", ["scene-0001", "scene-0002"], Interrupt())
    batch = sample_batch(scenes, replace(config.train, batch=6), 1, np.random.default_rng(1))
    with torch.no_grad():
        before, after = (compute_losses(model, batch, config.train) for model in (untrained, trained))
    assert after.total < 0.95 * before.total
    assert after.fill < 0.9 * before.fill
    assert before.fill == pytest.approx(float(before.fill_copied), rel=1e-5), "untrained, the ground is copied"
    assert before.motion == pytest.approx(float(before.motion_measured), rel=1e-5), "and objects move as measured"


def test_what_cannot_be_resumed_says_why(town_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_training(small("train.steps=1"), town_root, run)
    with pytest.raises(InputError, match="not empty"):
        run_training(small(), town_root, run)
    with pytest.raises(InputError, match=r"another config.*width: 32 there, 48 here"):
        run_training(small("model.width=48"), town_root, run, resume=True)
    (run / "checkpoint.safetensors").write_bytes((run / "checkpoint.safetensors").read_bytes()[:5000])
    with pytest.raises(InputError, match="safetensors"):
        run_training(small(), town_root, run, resume=True)
    (run / "checkpoint.safetensors").unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        run_training(small(), town_root, run, resume=True)
    for count in (1, 3):
        with pytest.raises(InputError, match=f"gate_streams is {count}, with 2 scenes"):
            run_training(small(f"train.gate_streams={count}"), town_root, tmp_path / f"gate{count}")
    with pytest.raises(InputError, match=r"more than train\.holdout_scenes"):
        run_training(small("train.holdout_scenes=3"), town_root, tmp_path / "other")


def test_two_workers_learn_what_one_learns_from_their_batches_in_turn(town_root: Path, tmp_path: Path) -> None:
    """torchrun with Gloo, the real command."""
    quick = ("train.steps=4", "train.warmup_steps=1")
    overrides = [item for text in [*SMALL, *quick] for item in ("--set", text)]
    arguments = ["train", "--config", "tiny", "--dataroot", str(town_root), "--out", str(tmp_path / "two"), *overrides]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launcher, "-m", "genie.cli.main", *arguments], check=True, capture_output=True, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    run_training(small(*quick, "train.accumulate=2"), town_root, tmp_path / "one")
    run_training(small(*quick), town_root, tmp_path / "half")
    two, one, half = (weights_of(tmp_path / name) for name in ("two", "one", "half"))
    assert apart(two, one) < 0.02 * apart(half, one), "one batch teaches about the same as two"


def test_a_run_ends_with_the_average_of_its_weights_and_resumes_it(town_root: Path, tmp_path: Path) -> None:
    averaged = ("train.average=0.9", "train.warmup_steps=1")
    run_training(small(*averaged, "train.steps=3"), town_root, tmp_path / "run")
    before = read_checkpoint(tmp_path / "run/checkpoint.safetensors").tensors
    run_training(small(*averaged), town_root, tmp_path / "run", resume=True)
    after = read_checkpoint(tmp_path / "run/checkpoint.safetensors").tensors
    result = weights_of(tmp_path / "run")
    weights, average = ({n: after[f"{kind}.{n}"] for n in result} for kind in ("model", "average"))
    assert apart(average, result) == 0.0
    assert apart(weights, result) > 2e-5
    # Three steps at this rate move a weight by 2e-3 each at most; the average lags behind them.
    began = {n: before[f"average.{n}"] for n in result}
    assert 0.0 < apart(began, average) < apart(began, weights)


def test_an_average_goes_on_where_it_was() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    whole, cut = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    for step in range(1, 60):
        torch.nn.init.normal_(model.weight)
        if step == 40:
            saved = {name: mean.clone() for name, mean in cut.weights.items()}
            cut = MovingAverage(model, 0.9)
            cut.restore(saved)
        for average in (whole, cut):
            average.update(model, step)
    assert torch.equal(cut.weights["weight"], whole.weights["weight"])
    assert whole.weights["weight"].abs().mean() < 0.5 * model.weight.abs().mean(), "it is no average"


def test_forward_passes_in_bfloat16_learn_too(town_root: Path, tmp_path: Path) -> None:
    run_training(small("train.bf16=true"), town_root, tmp_path / "half")
    run_training(small(), town_root, tmp_path / "whole")
    half, whole = (weights_of(tmp_path / name) for name in ("half", "whole"))
    assert all(value.dtype == whole[name].dtype and value.isfinite().all() for name, value in half.items())
    difference = (half["motion.features.weight"] - whole["motion.features.weight"]).abs().max()
    assert 0 < difference < 0.02


def test_the_score_of_the_gate_is_fitted_on_streams(town_root: Path, tmp_path: Path) -> None:
    run_training(small("train.gate_streams=2", "train.steps=2"), town_root, tmp_path / "run")
    fitted, _ = load_model(tmp_path / "run")
    assert fitted.gate.score[-1].weight.abs().max() > 1e-3, "a column's regret depends on nothing"


def test_the_heads_train_first_and_alone(town_root: Path, tmp_path: Path) -> None:
    """Cut in the middle of them, too."""
    heads = ("train.heads_first=4", "train.steps=2", "train.annotators=1", "train.crop_scenes=1")
    run_training(small(*heads, "train.steps=0"), town_root, tmp_path / "run")
    first = read_checkpoint(tmp_path / "run/checkpoint.safetensors")
    torch.manual_seed(0)
    fresh = dict(GenieDrive(small().model).named_parameters())
    moved = {n for n, p in fresh.items() if not torch.equal(first.tensors[f"model.{n}"], p)}
    assert first.step == 4 and moved
    assert all(n.startswith(("motion.", "trajectory.")) for n in moved), moved
    run_training(small(*heads), town_root, tmp_path / "run", resume=True)
    after = read_checkpoint(tmp_path / "run/checkpoint.safetensors")
    assert after.step == 6
    assert any(not torch.equal(after.tensors[f"model.{n}"], fresh[n]) for n in fresh if n.startswith("invention."))


def test_training_on_frames_comes_last_changes_the_heads_alone_and_leaves_no_files(
    town_root: Path, tmp_path: Path
) -> None:
    frames = ("train.frame_steps=3", "train.frame_batch=4", "train.frame_columns=16", "train.steps=2")
    run_training(small("train.steps=2"), town_root, tmp_path / "run")
    before = weights_of(tmp_path / "run")
    run_training(small(*frames), town_root, tmp_path / "run", resume=True)
    after = weights_of(tmp_path / "run")
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"invention", "motion"}
    assert read_checkpoint(tmp_path / "run/checkpoint.safetensors").step == 5
    assert not (tmp_path / "run" / FRAMES).exists()


def test_a_run_that_is_cut_while_streams_are_ticked_goes_on(
    town_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that begins there."""
    frames = ("train.steps=0", "train.frame_steps=2", "train.frame_batch=4", "train.frame_columns=16")

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "collect_frames", cut)
        with pytest.raises(KeyboardInterrupt):
            run_training(small(*frames), town_root, tmp_path / "run")
    assert run_training(small(*frames), town_root, tmp_path / "run", resume=True)
    assert read_checkpoint(tmp_path / "run/checkpoint.safetensors").step == 2


def test_a_run_begins_with_the_weights_that_it_is_given(town_root: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    given = GenieDrive(small().model)
    save_checkpoint(tmp_path / "given.safetensors", given, small(), 0)
    begin = partial(train, source="stream", seed=0, resume=False, init=tmp_path / "given.safetensors")
    begin(small("train.steps=0"), town_root, tmp_path / "run")
    begun = weights_of(tmp_path / "run")
    assert all(torch.equal(begun[name], value) for name, value in given.named_parameters() if name in begun)
    with pytest.raises(InputError, match="another config"):
        begin(small("model.width=48"), town_root, tmp_path / "other")
