"""`python tools/settle_perception.py CHECKPOINT DATAROOT OUT`: where free ends, of trained perception weights.

On the labelled keyframes of a data root, which shall be none that the weights were trained on; the
rest of the checkpoint stays as it is. What it does and why: perception/settle.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from genie.data.perception_frames import prepare_frames
from perception.checkpoint import load_network, save_checkpoint
from perception.frames import FrameStore
from perception.settle import free_bias


def main(checkpoint: Path, dataroot: Path, out: Path) -> None:
    torch.set_num_threads(1)
    loaded = load_network(checkpoint)
    store = FrameStore(dataroot.with_name(dataroot.name + "-frames"), loaded.config.model)
    scenes = prepare_frames(dataroot, store)
    bias = free_bias(loaded.model, store, scenes)
    loaded.model.head.shift_free(bias)
    save_checkpoint(out, loaded.model, loaded.config, loaded.step)
    frames = sum(len(tokens) for tokens in scenes.values())
    print(f"{out}: {bias:+.1f} to the logit of free, by {frames} keyframes of {len(scenes)} scenes")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
