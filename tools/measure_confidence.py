"""`python tools/measure_confidence.py CHECKPOINT DATAROOT OUT`: the confidence of trained weights, measured anew.

On all scenes of a data root with 10 Hz streams, which shall be none that the weights were trained on; the rest of the
checkpoint stays as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from genie.data.scenes import choose_scenes
from genie.model import GenieDrive
from genie.training.checkpoint import load_weights, read_checkpoint, save_checkpoint
from genie.training.confidence import measure_confidence


def main(checkpoint: Path, dataroot: Path, out: Path) -> None:
    torch.set_num_threads(1)
    loaded = read_checkpoint(checkpoint)
    model = GenieDrive(loaded.config.model).eval()
    load_weights(model, loaded, checkpoint)
    scenes = choose_scenes(dataroot, "stream")
    model.confidence_of_origin.copy_(measure_confidence(model, dataroot, "stream", scenes))
    save_checkpoint(out, model, loaded.config, loaded.step)
    print(f"{out}: of {len(scenes)} scenes")
    for way, of_way in zip(("expected", "given"), model.confidence_of_origin.tolist(), strict=True):
        for ego, by_horizon in zip(("stands", "moves"), of_way, strict=True):
            shown = "  ".join("/".join(f"{share:.3f}" for share in row) for row in by_horizon)
            print(f"way {way}, ego {ego}, observed/moved/invented at 0.5 to 3 s: {shown}")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
