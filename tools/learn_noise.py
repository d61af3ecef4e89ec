"""`python tools/learn_noise.py PERCEPTION BUNDLE DATAROOT OUT`: what the gate is not to be surprised by.

PERCEPTION: export of a perception network. BUNDLE: export of the world model. DATAROOT: streams with sweeps and images
that neither was trained on. OUT: for `geniedrive export --noise`. What it does and why: deploy/noise.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from rich.progress import track

from deploy.bundle_files import verify_bundle
from deploy.noise import PerceivedStream, learn_noise, write_noise
from deploy.perceive import Perception
from deploy.sensed import SensedScene, see
from deploy.torch_runtime import bundled_model
from genie.data.bag.source import BagSource
from genie.data.nuscenes import open_nuscenes
from genie.data.scenes import choose_scenes, load_scenes
from perception.config import LIDAR


def main(perception: Path, bundle: Path, dataroot: Path, out: Path) -> None:
    torch.set_num_threads(1)
    nusc, streams = open_nuscenes(dataroot), []
    for scene in load_scenes(dataroot, "stream", choose_scenes(dataroot, "stream", None)):
        source = BagSource(nusc, scene.sequence.name)
        rig = source.rig()
        network = Perception(perception, rig, threads=1)
        frames = track(range(len(scene.sequence)), scene.sequence.name)
        seen = see(SensedScene(source, rig, LIDAR), scene.sequence, network, bundle, lambda _, frames=frames: frames)
        streams.append(PerceivedStream(scene.sequence, seen.steady))
    noise = learn_noise(bundled_model(bundle, verify_bundle(bundle)), streams)
    write_noise(out, noise)
    print(f"{out}: {', '.join(f'{w:g}' for w in noise.words)} words, by {noise.learned_on}")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:5]))
