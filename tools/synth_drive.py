"""Writes a synthetic drive for calibration: python tools/synth_drive.py OUT --scenes 11 --seconds 60 --seed 500."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

from genie.data.synth.config import SynthConfig
from genie.data.synth.drive import write_drive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--image-scale", type=float, default=0.3)
    parser.add_argument("--cameras", nargs="+", default=["CAM_FRONT", "CAM_BACK_LEFT"])
    given = parser.parse_args()
    cv2.setNumThreads(1)
    config = SynthConfig(
        given.scenes, given.seconds, given.seed, stream=False, lidar=True, cameras=True, image_scale=given.image_scale
    )
    write_drive(given.out, config, tuple(given.cameras), progress=print)


if __name__ == "__main__":
    main()
