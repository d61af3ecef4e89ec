"""The engine in a thread of its own: one input waits, the newest; a result is judged before it is handed out; a thread
that died is started anew, by rule."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from deploy.live_status import ForecastEngine, LiveLimits
from deploy.plausible import problems
from deploy.worker import LatestOnlyWorker
from genie.command import Command
from perception.types import SceneForecast, SensorFrame

MINUTE_S = 60.0


@dataclass(frozen=True)
class Inferred:
    """problems: why the forecast must not be published; empty where nothing is wrong. command: what the model was
    told. seconds: of the engine, the judgement and what was prepared. columns: how many of its columns the model
    computed, 0 where that is always all."""

    forecast: SceneForecast
    command: Command | None
    columns: int
    epoch: int
    seconds: float
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    frame: SensorFrame
    command: Command | None
    epoch: int


class Inference:
    """Between its calls the engine's `step` and `reset` run in the worker's thread alone."""

    def __init__(
        self,
        engine: ForecastEngine,
        limits: LiveLimits,
        *,
        prepare: Callable[[SceneForecast], None] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            prepare: called in the worker's thread with each forecast that nothing is wrong with, before it is told.
        """
        self._engine, self._limits, self._monotonic_s, self._prepare = engine, limits, monotonic_s, prepare
        self._engine_epoch: int | None = None  # of the worker's thread, as the next one
        self._before: SensorFrame | None = None
        self._failed_s = 0.0
        self._failures: deque[float] = deque()
        self.failure: BaseException | None = None
        self._worker = self._start()

    def _start(self) -> LatestOnlyWorker[_Task, Inferred]:
        return LatestOnlyWorker(self._infer)

    def offer(self, frame: SensorFrame, command: Command | None, epoch: int) -> bool:
        """Whether an input was lost: one that still waited, or this one, where the thread is dead."""
        if self.failure is not None and not self._revived():
            return True
        return self._worker.offer(_Task(frame, command, epoch)) is not None

    def take(self, epoch: int) -> Inferred | None:
        """The newest result of this stretch of data that was not taken yet."""
        if self.failure is not None and not self._revived():
            return None
        try:
            result = self._worker.take()
        except Exception as error:  # told with each tick, as FAULT, until the thread is started anew
            self.failure = error
            self._failed_s = self._monotonic_s()
            self._failures.append(self._failed_s)
            return None
        return result if result is not None and result.epoch == epoch else None

    def _revived(self) -> bool:
        """Starts a new thread with a forgotten stream where it is time, and there were not too many."""
        now_s = self._monotonic_s()
        while self._failures and now_s - self._failures[0] > MINUTE_S:
            self._failures.popleft()
        due = now_s - self._failed_s >= self._limits.restart_worker_after_us * 1e-6
        if not due or len(self._failures) > self._limits.worker_restarts:
            return False
        self._engine_epoch, self.failure = None, None
        self._worker = self._start()
        return True

    def close(self) -> None:
        self._worker.close()

    def _infer(self, task: _Task) -> Inferred:
        """In the worker's thread."""
        if task.epoch != self._engine_epoch:
            self._engine.reset()
            self._engine_epoch, self._before = task.epoch, None
        start = time.perf_counter()
        forecast = self._engine.step(task.frame, task.command)
        wrong = problems(forecast, task.frame, self._before, self._limits.plausible)
        if self._prepare is not None and not wrong:
            self._prepare(forecast)
        seconds = time.perf_counter() - start
        # What made a bad forecast may be in the state, where it would stay.
        self._engine_epoch, self._before = (None, None) if wrong else (task.epoch, task.frame)
        return Inferred(forecast, task.command, self._engine.computed, task.epoch, seconds, wrong)
