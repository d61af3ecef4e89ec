"""The gate's learned score: how far a column's token will be off if it is not computed now.

Along streams every column is computed anew beside the gated tick; how far the token that would have been kept is from
the new one, is what the score regresses, as a logarithm. The gate's own rules (what must be computed) stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genie.data.sequence import Sequence
from genie.gate import Selection
from genie.gated import gated_tick
from genie.gated_stream import gated_moments, observed
from genie.model import GenieDrive
from genie.model_forecaster import plan_tensors

EVERY = 7  # ticks: neighbours are alike, and no multiple of a refresh
SMALLEST = 1e-3  # of a token's root mean square, which a norm holds near 1: less is rounding
STEPS, LEARNING_RATE, BATCH = 600, 5e-3, 4096


class Regret(NamedTuple):
    """Of columns that were seen before: features [n, F] of the gate, prior [n], its own part of the score, and
    log_error [n], of the token that would have been kept."""

    features: Float[Tensor, "n F"]
    prior: Float[Tensor, " n"]
    log_error: Float[Tensor, " n"]


class FitReport(NamedTuple):
    """Variance of the logarithm that is explained, on the last stream, which was not fitted on: by the gate's own part
    alone (up to a constant and a factor), and with the learned part."""

    by_prior: float
    by_score: float


@torch.no_grad()
def regrets(model: GenieDrive, stream: Sequence) -> Regret:
    """Along a stream, ticked as on the car."""
    everything, parts = model.config.gate.buckets[-1], []
    frames = (stream.frame(t) for t in range(len(stream)))
    for t, (occupancy, ego, selection, state) in enumerate(gated_moments(model, observed(frames))):
        if t % EVERY == EVERY - 1:
            _, anew = gated_tick(model, occupancy, ego, selection, everything, state, plan_tensors(None))
            parts.append(_regret(selection, state.tokens[selection.source], anew.tokens))
    return Regret(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _regret(selection: Selection, kept: Tensor, anew: Tensor) -> Regret:
    error = (kept - anew).square().mean(dim=-1).sqrt()
    known = selection.columns.filled > 0.5
    log_error = error.clamp(min=SMALLEST).log()
    return Regret(selection.features[known], selection.prior[known], log_error[known])


def fit_gate_score(model: GenieDrive, streams: Iterable[Sequence], seed: int = 0) -> FitReport:
    """Fits the learned part in place.

    Raises:
        ValueError: fewer than two streams.
    """
    *some, last = [regrets(model, stream) for stream in streams]
    if not some:
        raise ValueError("one stream to fit on and one to judge by")
    told = Regret(*(torch.cat(part) for part in zip(*some, strict=True)))
    score = model.gate.score
    generator = torch.Generator().manual_seed(seed)
    last_layer = score[-1]
    assert isinstance(last_layer, nn.Linear)
    with torch.no_grad():  # start at the mean
        last_layer.bias.copy_((told.log_error - told.prior).mean().reshape(1))
    optimizer = torch.optim.Adam(score.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(told.prior), (BATCH,), generator=generator)
        wrong = told.prior[rows] + score(told.features[rows])[:, 0] - told.log_error[rows]
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.huber_loss(wrong, torch.zeros_like(wrong)).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        learned = last.prior + score(last.features)[:, 0]
    return FitReport(_explained(last.prior, last.log_error), _explained(learned, last.log_error))


def _explained(predicted: Tensor, truth: Tensor) -> float:
    """Squared correlation."""
    return float(torch.corrcoef(torch.stack([predicted, truth]))[0, 1].nan_to_num() ** 2)
