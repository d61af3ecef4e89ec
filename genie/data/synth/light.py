"""Sun, sky and what they do to a surface. Colours are linear red, green, blue; at 1 a camera shows white."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genie.data.synth.sampling import Floats, noise
from genie.data.synth.tracer import FAR
from genie.data.synth.world import World

HAZE = 1100.0  # m after which 63 % of a colour is that of the air
GROUND_BOUNCE = np.array([0.11, 0.105, 0.095], np.float32)


class Light(NamedTuple):
    """towards_sun: unit [3]. sun, zenith, horizon: colours [3]. clouds: 0 none .. 1 overcast. skyline: m, phase of the
    silhouettes on the horizon."""

    towards_sun: Floats
    sun: Floats
    zenith: Floats
    horizon: Floats
    clouds: float
    skyline: float

    @classmethod
    def draw(cls, world: World) -> Light:
        """The weather of a scene: it belongs to the world, so all its cameras agree."""
        rng = np.random.default_rng(np.round(np.abs(world.town.nodes).ravel() * 100).astype(np.int64))
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(28, 62))
        overcast = float(rng.choice([0.15, 0.45, 0.95], p=[0.45, 0.35, 0.2]))
        up, flat = np.sin(elevation), np.cos(elevation)
        clear = 1 - overcast**3
        return cls(
            np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), up], np.float32),
            np.array([2.15, 2.0, 1.75], np.float32) * np.float32(clear),
            np.array([0.25, 0.42, 0.80], np.float32) * np.float32(clear) + np.float32(0.62 * (1 - clear)),
            np.array([0.80, 0.86, 0.92], np.float32) * np.float32(0.85 + 0.15 * clear),
            overcast,
            float(rng.uniform(0, 500)),
        )

    def sky(self, directions: Floats) -> Floats:
        """Colour [n, 3] of the sky in unit directions [n, 3]; at and below the horizon: haze and far silhouettes."""
        up = directions[:, 2]
        share: Floats = np.clip(up, 0, 1)[:, None] ** np.float32(0.55)
        colour: Floats = self.horizon * (1 - share) + self.zenith * share
        glow = np.clip(directions @ self.towards_sun, 0, 1) ** 24
        colour += glow[:, None] * np.array([0.35, 0.30, 0.2], np.float32) * np.float32(1 - self.clouds)
        high = np.flatnonzero(up > 0.02)
        plane = directions[high, :2] / (up[high, None] + np.float32(0.10))
        cloud = noise(plane[:, 0] + np.float32(self.skyline), plane[:, 1], 0.022)
        cover = np.clip((cloud - np.float32(1.1 - 2.2 * self.clouds)) * np.float32(0.75), 0, 1) * np.clip(
            up[high] * 8, 0, 1
        )
        bright = np.float32(1.0) - np.float32(0.09) * np.clip(cloud, 0, 2)
        colour[high] += (cover * np.float32(0.85))[:, None] * (bright[:, None] - colour[high])
        self._silhouettes(colour, directions)
        return colour

    def _silhouettes(self, colour: Floats, directions: Floats) -> None:
        """Trees and roofs far away, in place."""
        low = np.flatnonzero(directions[:, 2] < 0.055)
        azimuth = np.arctan2(directions[low, 1], directions[low, 0])
        at = azimuth * np.float32(60) + np.float32(self.skyline)
        trees = np.float32(0.012) + np.float32(0.006) * noise(at, at * 0, 0.35)
        roofs = np.float32(0.016) + np.float32(0.016) * np.floor(noise(np.floor(at / 2.5), at * 0 + 100, 1.0))
        for height, tone in ((roofs, (0.50, 0.54, 0.60)), (trees, (0.30, 0.36, 0.33))):
            inside = low[directions[low, 2] < height]
            colour[inside] = np.float32(0.55) * np.array(tone, np.float32) + np.float32(0.45) * self.horizon

    def ambient(self, normal: Floats) -> Floats:
        """Light from sky and ground on surfaces of unit normals [n, 3]."""
        share: Floats = (normal[:, 2:] + np.float32(1)) * np.float32(0.5)
        sky = (np.float32(0.5) * self.zenith + np.float32(0.5) * self.horizon) * np.float32(0.62 + 0.25 * self.clouds)
        bounce: Floats = GROUND_BOUNCE * (np.float32(1.0) + self.sun)
        return sky * share + bounce * (1 - share)

    def mirrored(self, directions: Floats) -> Floats:
        """What a glossy surface shows in mirrored directions [n, 3]: sky above, street below."""
        up = directions[:, 2:]
        share: Floats = np.clip(up, 0, 1) ** np.float32(0.6)
        above: Floats = self.horizon * np.float32(0.75) * (1 - share) + self.zenith * share
        return np.where(
            up > 0.08, above, np.where(up > -0.02, above * np.float32(0.45), GROUND_BOUNCE * np.float32(1.4))
        )

    def haze(self, colour: Floats, distance: Floats) -> Floats:
        """Colours [n, 3] as seen through `distance` [n] (m) of air."""
        through = np.exp(-distance / np.float32(HAZE))[:, None]
        return np.where(distance[:, None] < FAR, colour * through + self.horizon * (1 - through), colour)


def unit_rows(vectors: Floats) -> Floats:
    """[n, 3], each of length 1."""
    length: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / np.maximum(length, np.float32(1e-9))[:, None]
