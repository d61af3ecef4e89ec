"""What a data set is like, in numbers, counted alike for real scenes and for synthetic ones, and a table of both.

Everything is taken from what is on disk: 10 Hz labels in the `mini` style (boxes and road), ego poses, annotations.
Instances count while their centre is in the square of the labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import inverse
from genie.data.scenes import Scene
from genie.data.sequence import Sequence
from genie.data.tracks import SceneTracks
from genie.warp import ego_warp
from perception.types import CLASS_NAMES, DRIVEABLE, GRID, MOVABLE

Array = NDArray[np.float64]
MOVES_ABOVE = 0.5  # m/s
STANDS_BELOW = 0.2  # m/s, of the ego
HALF = -GRID.origin[0]  # m, of the labels' square
CLASSES = tuple(CLASS_NAMES[c] for c in range(1, DRIVEABLE))
COLUMN = 4  # voxels along a side
FACTOR = 1.5


FEW = 3  # instances: fewer in the real data say nothing about a class


class Row(NamedTuple):
    """group, name: what is counted. value: the number; NaN where the data has nothing to count.

    instances: how many the number rests on; None where it is not about instances.
    """

    group: str
    name: str
    value: float
    instances: int | None = None


@dataclass
class Samples:
    """Everything that the rows are made of.

    ego_speed: per 0.1 s (m/s). change: per 0.1 s, share of columns. counts: class -> per keyframe. speeds: class -> per
    annotation (m/s). movers: class -> how many instances moved at any time. sizes: class -> w, l, h per instance (m).
    """

    scenes: int = 0
    ego_speed: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in CLASSES})
    speeds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CLASSES})
    movers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    sizes: dict[str, list[Array]] = field(default_factory=lambda: {name: [] for name in CLASSES})

    def add(self, scene: Scene) -> None:
        sequence = scene.sequence
        self.scenes += 1
        moved = np.linalg.norm(np.diff(sequence.world_from_ego[:, :2, 3], axis=0), axis=1)
        self.ego_speed += list(moved / (np.diff(sequence.timestamp_us) * 1e-6))
        self.change += column_change(sequence)
        if scene.tracks is not None:
            self._add_tracks(scene.tracks, sequence)

    def _add_tracks(self, tracks: SceneTracks, sequence: Sequence) -> None:
        size_of: dict[int, tuple[str, Array]] = {}
        moved: set[int] = set()
        for stamp, boxes in zip(tracks.stamp_us, tracks.boxes, strict=True):
            nearest = int(np.abs(sequence.timestamp_us - stamp).argmin())
            ego_from_world = inverse(sequence.world_from_ego[nearest])
            centre = boxes.center_world @ ego_from_world[:3, :3].T + ego_from_world[:3, 3]
            near = boxes.select((np.abs(centre[:, :2]) < HALF).all(1))
            speed = np.linalg.norm(near.velocity_world, axis=1)
            for name in CLASSES:
                of_class = near.class_id == CLASS_NAMES.index(name)
                self.counts[name].append(int(of_class.sum()))
                self.speeds[name] += list(speed[of_class & np.isfinite(speed)])
            moved |= {int(i) for i in near.instance[np.nan_to_num(speed) > MOVES_ABOVE]}
            for instance, kind, size in zip(near.instance, near.class_id, near.size_lwh, strict=True):
                size_of[int(instance)] = (CLASS_NAMES[kind], size[[1, 0, 2]])
        for instance, (name, size) in size_of.items():
            if name in self.sizes:
                self.sizes[name].append(size)
                self.movers[name] += instance in moved


def gather(scenes: Iterable[Scene]) -> Samples:
    """Reads the scenes one at a time."""
    samples = Samples()
    for scene in scenes:
        samples.add(scene)
    return samples


def column_change(sequence: Sequence) -> list[float]:
    """Per step, the share of columns in which any voxel is not what the frame before, moved by the ego, shows there.

    Nearest voxel, free outside: what comes into the square counts, and so does aliasing.
    """
    pairs = zip(range(len(sequence) - 1), range(1, len(sequence)), strict=True)
    return [_changed(sequence, before, after) for before, after in pairs]


def _changed(sequence: Sequence, before: int, after: int) -> float:
    poses = sequence.world_from_ego
    warped = ego_warp(sequence.semantics[before], inverse(poses[before]) @ poses[after])
    differs = (warped != sequence.semantics[after]).any(-1)
    nx, ny = (n // COLUMN for n in differs.shape)
    return float(differs.reshape(nx, COLUMN, ny, COLUMN).any(axis=(1, 3)).mean())


def rows_of(samples: Samples) -> list[Row]:
    """The numbers, in the order of the table."""
    ego, change = np.array(samples.ego_speed), np.array(samples.change)
    drives = ego[ego > STANDS_BELOW]
    rows = [
        Row("ego", "speed while it drives, mean (m/s)", _mean(drives)),
        Row("ego", "speed while it drives, 90th percentile (m/s)", _quantile(drives, 0.9)),
        Row("ego", "stands (% of the time)", 100 * _mean(ego <= STANDS_BELOW)),
        Row("change per 0.1 s after ego motion", "columns that change, mean (%)", 100 * _mean(change)),
        Row(
            "change per 0.1 s after ego motion",
            "columns that change, 90th percentile (%)",
            100 * _quantile(change, 0.9),
        ),
    ]
    count = {name: len(samples.sizes[name]) for name in CLASSES}
    rows += [Row("instances per keyframe", n, _mean(np.array(samples.counts[n])), count[n]) for n in CLASSES]
    movable = [name for name in CLASSES if CLASS_NAMES.index(name) in MOVABLE]
    speeds = {name: np.array(samples.speeds[name]) for name in movable}
    for name, speed in speeds.items():
        moving = speed[speed > MOVES_ABOVE]
        rows.append(Row("speed of those that move, mean (m/s)", name, _mean(moving), samples.movers[name]))
    for name, speed in speeds.items():
        rows.append(Row("faster than 0.5 m/s (%)", name, 100 * _mean(speed > MOVES_ABOVE), samples.movers[name]))
    for axis, side in enumerate(("width", "length", "height")):
        for name in CLASSES:
            rows.append(
                Row(f"{side}, mean (m)", name, _mean(np.array([s[axis] for s in samples.sizes[name]])), count[name])
            )
    return rows


def markdown(real: list[Row], synthetic: list[Row]) -> str:
    """Both side by side, with the ratio and whether it is within a factor of FACTOR."""
    lines = ["| | | real | synthetic | ratio | within 1.5x |", "|---|---|---|---|---|---|"]
    group = ""
    for one, other in zip(real, synthetic, strict=True):
        label = one.group if one.group != group else ""
        group = one.group
        cells = [label, one.name, _number(one.value), _number(other.value), *_verdict(one, other)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(table: str, verdicts: list[bool | None], real_scenes: int, synthetic_scenes: int, made: str) -> str:
    """The table with what a reader has to know about it. made: the command that wrote the synthetic data."""
    judged = [v for v in verdicts if v is not None]
    return f"""# Synthetic scenes beside real ones

{synthetic_scenes} synthetic scenes and {real_scenes} real scenes of nuScenes mini, counted by the same code:

    {made}
    geniedrive data statistics SYNTH --beside REAL --out docs/synthetic-statistics.md

Labels are boxes and road alone, as the real 10 Hz streams are derived from annotations: `stream-mini/` of a synthetic
data root. Instances count while they are in the 80 m square of the labels.

- {sum(judged)} of {len(judged)} rows are within a factor of {FACTOR}; {len(verdicts) - len(judged)} rest on fewer than
  {FEW} real instances (of those that move, in rows about motion) and are not judged.
- Columns that change: any voxel of a 4x4x16 column differs from the frame before as the ego motion moves it (nearest
  voxel, free outside), so aliasing and what comes into the square count.
- The parameters of the world were tuned on these same real scenes. The table shows a fit; it does not show that other
  real scenes would agree as well.
- A few real scenes are few: a class with ten instances is known to about a third. Rare classes scatter on the
  synthetic side too: with another seed a row near the edge may fall on the other side of it.
- The limit of {FEW} instances was set with the real counts in view. The numbers below it are shown all the same.

{table}"""


def within(real: Row, synthetic: Row) -> bool | None:
    """Whether the numbers agree within FACTOR; None where the real data has too few instances to say."""
    if real.instances is not None and real.instances < FEW:
        return None
    ratio = synthetic.value / real.value if real.value else float("nan")
    return bool(1 / FACTOR <= ratio <= FACTOR)


def _verdict(real: Row, synthetic: Row) -> tuple[str, str]:
    known = within(real, synthetic)
    if known is None:
        return "-", f"too few real ones: {real.instances}"
    ratio = synthetic.value / real.value if real.value else float("nan")
    return f"{ratio:.2f}", "yes" if known else "**no**"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _mean(values: Array | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _quantile(values: Array, q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else float("nan")
