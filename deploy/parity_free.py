"""The same stream through two runtimes, each on its own state to the end: do they forecast and select alike?

`deploy.parity.compare` sets the candidate right after every tick that was decided otherwise, so that each tick can be
measured by itself. Here nothing is set right, as on the car: an error that feeds itself shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deploy.graph_runtime import Runtime
from deploy.parity import Check
from deploy.parity_stream import check_length, true_future
from deploy.pipeline import tick_inputs
from deploy.spec import ROWS, ParityLimits
from genie.data.sequence import Sequence
from genie.observation import observe, start_observer
from genie.rows import as_voxels
from perception.metrics import confusion_table, mean_iou
from perception.types import NUM_CLASSES


@dataclass(frozen=True)
class FreeRun:
    """needed: columns that the gate had to compute, of all ticks: reference, candidate; 0 of the dense form.
    miou: of the forecasts against the truth, in %: reference, candidate."""

    needed: tuple[int, int]
    miou: tuple[float, float]

    @property
    def more_columns(self) -> float:
        """The candidate's beyond the reference's, as a share of those."""
        return self.needed[1] / self.needed[0] - 1.0 if self.needed[0] else 0.0

    def checks(self, limits: ParityLimits) -> list[Check]:
        lost = abs(self.miou[1] - self.miou[0])
        return [
            Check("on its own: difference in mIoU (points)", lost, limits.miou_difference),
            Check("on its own: more columns selected (share)", self.more_columns, limits.more_columns),
        ]


def run_free(
    reference: Runtime,
    candidate: Runtime,
    stream: Sequence,
    ticks: int,
    on_tick: Callable[[], None] = lambda: None,
) -> FreeRun:
    """Runs both from empty states over the first `ticks` frames, given the true plan where there is one.

    Raises:
        InputError: the stream is too short.
    """
    check_length(stream, ticks)
    runtimes = (reference, candidate)
    needed, tables = [0, 0], [np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64) for _ in runtimes]
    for runtime in runtimes:
        runtime.reset()
    observer = start_observer()
    for t in range(ticks):
        scene, observer = observe(stream.frame(t), observer)
        truth = true_future(stream, t)
        inputs = tick_inputs(scene, None if truth is None else truth.plan)
        for index, runtime in enumerate(runtimes):
            outputs = runtime.tick(inputs)
            needed[index] += runtime.bucket().needed
            if truth is not None:
                tables[index] += confusion_table(truth.semantics, as_voxels(outputs[ROWS]))
        on_tick()
    first, second = (100 * mean_iou(table).value for table in tables)
    return FreeRun((needed[0], needed[1]), (first, second))
