"""Names, tokens and stamps. They depend on nothing but the seed and the scene's index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

VERSION = "v1.0-synth"


def token(seed: int, *names: object) -> str:
    """32 hex digits, as nuScenes has them."""
    return hashlib.md5("/".join(["geniedrive-synth", str(seed), *map(str, names)]).encode()).hexdigest()


@dataclass(frozen=True)
class SceneNames:
    """Of scene `index` (from 0). Times are microseconds after the start of the scene."""

    seed: int
    index: int

    @property
    def name(self) -> str:
        return f"scene-{self.index + 1:04d}"

    @property
    def logfile(self) -> str:
        return f"synth-{self.seed}-{self.index + 1:04d}"

    @property
    def start_us(self) -> int:
        return 1_600_000_000_000_000 + self.index * 3_600_000_000

    @property
    def map_file(self) -> str:
        return f"maps/{self.token('map')}.png"

    def stamp_us(self, time_us: int) -> int:
        return self.start_us + time_us

    def token(self, table: str, *names: object) -> str:
        return token(self.seed, table, self.name, *names)

    def sample_token(self, keyframe: int) -> str:
        return self.token("sample", keyframe)

    def data_token(self, channel: str, time_us: int) -> str:
        """Of the sample_data of `channel` at that time."""
        return self.token("sample_data", channel, time_us)
