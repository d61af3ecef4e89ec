"""Where free ends, settled after training: the network's bias of the class free.

The losses weigh rare classes more and what nobody sees hardly at all, so the likeliest class is occupied too often.
One number mends most of that, and with it the probability that a voxel is occupied: whatever adds up looks needs it to
be right at one half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch

from perception.batches import make_batch
from perception.evaluate import CAMERA_ONLY, FUSED, LIDAR_ONLY, usable
from perception.frames import FrameStore
from perception.lift import LiftIndex
from perception.metrics import ConfusionTable, confusion_table, occupied_iou
from perception.model import OccupancyNet
from perception.types import FREE, NUM_CLASSES

CANDIDATES = (-0.6, -0.3, 0.0, 0.3, 0.6, 0.9, 1.2, 1.5)  # added to the logit of free
MASKS = ("camera", "none")  # what is seen, and everything


@torch.no_grad()
def free_bias(
    model: OccupancyNet,
    store: FrameStore,
    scenes: Mapping[str, list[str]],
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda names: names,
) -> float:
    """The candidate with the best IoU of occupied against free, mean of the sensors that the network reads (lidar,
    cameras, both) and of MASKS. On frames that it was not trained on, if there are some."""
    rows = usable(model.config, (LIDAR_ONLY, CAMERA_ONLY, FUSED))
    tables: dict[tuple[str, str, float], ConfusionTable] = {
        (row.name, mask, bias): np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
        for row in rows for mask in MASKS for bias in CANDIDATES
    }  # fmt: skip
    for scene in progress(scenes):
        index = LiftIndex.of(store.plan(scene).table)
        for token in scenes[scene]:
            frame = store.read(scene, token)
            for row in rows:
                voxels = None if row.sweeps == "none" else frame.lidar[None]
                batch = make_batch([frame], index if row.lost is not None else None, voxels, "none", None)
                logits = model(batch.inputs).logits[0]
                occupied, label = logits[:FREE].max(0)
                margin = (occupied - logits[FREE]).permute(1, 2, 0).numpy()
                named = label.permute(1, 2, 0).to(torch.uint8).numpy()
                for bias in CANDIDATES:
                    told = np.where(margin > bias, named, np.uint8(FREE))
                    for mask in MASKS:
                        tables[row.name, mask, bias] += confusion_table(frame.semantics, told, frame.counts(mask))
    scores = {
        bias: float(np.mean([occupied_iou(tables[row.name, mask, bias]).value for row in rows for mask in MASKS]))
        for bias in CANDIDATES
    }
    return max(CANDIDATES, key=lambda bias: scores[bias])
