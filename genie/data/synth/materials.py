"""What surfaces are made of: how they look, and how they answer a lidar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.sensors import LIDARSEG


class Material(NamedTuple):
    """albedo: linear red, green, blue. reflectance: of 905 nm light at normal incidence, 0..1. label: of static things
    in LIDARSEG; instances carry their category's. gloss: share of light that is mirrored."""

    name: str
    albedo: tuple[float, float, float]
    reflectance: float
    label: str = "static.manmade"
    gloss: float = 0.0


# Paint, shirt, trousers, cargo and its seams take their colour from PALETTES; ground, facade and foliage from textures.
MATERIALS: tuple[Material, ...] = (
    Material("ground", (0.20, 0.20, 0.20), 0.12),
    Material("facade", (0.45, 0.42, 0.38), 0.35),
    Material("roof", (0.25, 0.24, 0.23), 0.25),
    Material("fence", (0.42, 0.40, 0.37), 0.35),
    Material("pole", (0.34, 0.35, 0.36), 0.45),
    Material("trunk", (0.13, 0.09, 0.06), 0.25, "static.vegetation"),
    Material("foliage", (0.09, 0.16, 0.04), 0.40, "static.vegetation"),
    Material("paint", (0.50, 0.50, 0.50), 0.35, gloss=0.10),
    Material("glass", (0.015, 0.018, 0.02), 0.06, gloss=0.35),
    Material("tyre", (0.020, 0.020, 0.021), 0.08),
    Material("rim", (0.35, 0.35, 0.36), 0.40, gloss=0.1),
    Material("plastic", (0.035, 0.035, 0.037), 0.12),
    Material("headlamp", (0.80, 0.80, 0.78), 0.85, gloss=0.25),
    Material("taillamp", (0.45, 0.02, 0.02), 0.95, gloss=0.1),
    Material("plate", (0.75, 0.75, 0.70), 1.00),
    Material("cargo", (0.60, 0.60, 0.58), 0.50),
    Material("seam", (0.45, 0.45, 0.43), 0.45),
    Material("machine", (0.70, 0.38, 0.02), 0.40, gloss=0.04),
    Material("skin", (0.42, 0.26, 0.19), 0.45),
    Material("shirt", (0.30, 0.30, 0.30), 0.40),
    Material("trousers", (0.06, 0.07, 0.10), 0.30),
    Material("hair", (0.03, 0.02, 0.02), 0.20),
    Material("vest", (0.85, 0.42, 0.02), 0.95),
    Material("barrier_red", (0.55, 0.07, 0.04), 0.45),
    Material("barrier_white", (0.72, 0.71, 0.68), 0.55),
    Material("cone", (0.80, 0.16, 0.02), 0.50),
    Material("reflector", (0.85, 0.85, 0.85), 1.00),
    Material("ego", (0.60, 0.60, 0.62), 0.15, "vehicle.ego", gloss=0.1),
)
INDEX: dict[str, int] = {m.name: i for i, m in enumerate(MATERIALS)}
ALBEDO: NDArray[np.float32] = np.array([m.albedo for m in MATERIALS], np.float32)
REFLECTANCE: NDArray[np.float32] = np.array([m.reflectance for m in MATERIALS], np.float32)
GLOSS: NDArray[np.float32] = np.array([m.gloss for m in MATERIALS], np.float32)
LABEL: NDArray[np.uint8] = np.array([LIDARSEG.index(m.label) for m in MATERIALS], np.uint8)

# Colours that a style draws from, linear red, green, blue; repeated entries are common ones.
PALETTES: dict[str, NDArray[np.float32]] = {
    name: np.array(colours, np.float32)
    for name, colours in {
        "paint": [
            (0.66, 0.66, 0.65), (0.60, 0.60, 0.60), (0.45, 0.46, 0.47), (0.30, 0.31, 0.32), (0.10, 0.10, 0.11),
            (0.03, 0.03, 0.035), (0.02, 0.02, 0.02), (0.05, 0.08, 0.20), (0.08, 0.16, 0.34), (0.42, 0.03, 0.03),
            (0.28, 0.02, 0.02), (0.62, 0.60, 0.52), (0.05, 0.14, 0.09), (0.62, 0.40, 0.03), (0.66, 0.66, 0.65),
            (0.16, 0.15, 0.14),
        ],
        "cargo": [
            (0.68, 0.68, 0.66), (0.62, 0.62, 0.62), (0.70, 0.69, 0.66), (0.12, 0.22, 0.42), (0.45, 0.10, 0.08),
            (0.66, 0.60, 0.46), (0.18, 0.34, 0.22), (0.72, 0.72, 0.72),
        ],
        "shirt": [
            (0.62, 0.62, 0.60), (0.10, 0.11, 0.13), (0.05, 0.10, 0.25), (0.40, 0.06, 0.06), (0.16, 0.25, 0.14),
            (0.50, 0.42, 0.10), (0.30, 0.30, 0.32), (0.55, 0.30, 0.30), (0.04, 0.04, 0.04), (0.20, 0.35, 0.50),
        ],
        "trousers": [
            (0.04, 0.06, 0.12), (0.03, 0.03, 0.03), (0.09, 0.09, 0.10), (0.25, 0.21, 0.15), (0.07, 0.10, 0.17),
        ],
        "facade": [
            (0.52, 0.48, 0.42), (0.46, 0.32, 0.25), (0.58, 0.57, 0.54), (0.36, 0.22, 0.17), (0.44, 0.44, 0.46),
            (0.60, 0.52, 0.40), (0.33, 0.35, 0.38), (0.50, 0.40, 0.34), (0.62, 0.61, 0.60), (0.40, 0.36, 0.30),
        ],
        "foliage": [
            (0.075, 0.130, 0.035), (0.055, 0.105, 0.030), (0.095, 0.140, 0.035), (0.065, 0.110, 0.045),
            (0.110, 0.135, 0.040),
        ],
    }.items()
}  # fmt: skip
