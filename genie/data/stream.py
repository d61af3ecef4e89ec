"""The 10 Hz streams: `stream/<scene>.npz` with occupancy, stamps and planar ego poses.

A synthetic data root has a second one, `stream-mini/`: the same scenes as solid annotated boxes and road alone, by the
rule by which the streams of real scenes are derived from their annotations.

semantics    uint8 [T, 200, 200, 16], Occ3D classes, each in the ego frame of its instant
timestamp_us integers [T], strictly increasing
ego_xyz      floats [T, 3] (m), ego_yaw floats [T] (rad): world_from_ego
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from calib.errors import InputError
from calib.transforms import se3_from_xyz_yaw
from genie.data.npz import check_array, read_npz
from genie.data.sequence import Sequence
from perception.types import DRIVEABLE, FREE, GRID, NUM_CLASSES, check_semantics

Style = Literal["as-is", "mini"]
STYLES: tuple[str, ...] = get_args(Style)
STREAM_FOLDERS = {"stream": "stream", "stream-mini": "stream-mini"}  # by source


def is_stream(source: str) -> bool:
    """Whether a source has frames at 10 Hz."""
    return source in STREAM_FOLDERS


def list_stream_scenes(dataroot: Path | str, source: str = "stream") -> list[str]:
    """Names of the scenes that have a stream file, sorted; empty where there is none."""
    return sorted(path.stem for path in (Path(dataroot) / STREAM_FOLDERS[source]).glob("*.npz"))


def load_stream(dataroot: Path | str, scene: str, style: Style = "as-is", source: str = "stream") -> Sequence:
    """Reads one scene of the stream.

    Args:
        dataroot: folder that holds stream/.
        scene: e.g. "scene-0061".
        style: "as-is", or "mini": boxes and road alone (see `apply_style`).
        source: which of the streams, a key of STREAM_FOLDERS.

    Raises:
        InputError: unknown scene, or a file that is truncated or not in the layout above.
    """
    path = Path(dataroot) / STREAM_FOLDERS[source] / f"{scene}.npz"
    if not path.is_file():
        known = list_stream_scenes(dataroot, source)
        raise InputError(
            f"no stream of scene {scene!r}",
            expected=f"one of {', '.join(known)}" if known else f"10 Hz stream files in {path.parent}",
            fix="name a scene that is there, or check the data root",
            path=path,
        )
    arrays = read_npz(path, ("semantics", "timestamp_us", "ego_xyz", "ego_yaw"))
    semantics = arrays["semantics"]
    frames = len(semantics) if semantics.ndim == 4 else 0
    check_semantics(semantics, (frames, *GRID.shape), path)
    check_array(arrays["timestamp_us"], "timestamp_us", "i", (frames,), path)
    check_array(arrays["ego_xyz"], "ego_xyz", "f", (frames, 3), path)
    check_array(arrays["ego_yaw"], "ego_yaw", "f", (frames,), path)
    stamps = arrays["timestamp_us"].astype(np.int64)
    if not frames or (np.diff(stamps) <= 0).any():
        raise InputError(
            "timestamp_us does not increase" if frames else "no frames",
            expected="at least one frame, stamps strictly increasing",
            fix="write the frames in time order",
            path=path,
        )
    return Sequence(
        name=scene,
        semantics=apply_style(semantics, style),
        timestamp_us=stamps,
        world_from_ego=se3_from_xyz_yaw(arrays["ego_xyz"], arrays["ego_yaw"]),
        source=path,
    )


def apply_style(semantics: NDArray[np.uint8], style: Style) -> NDArray[np.uint8]:
    """Occupancy as another source would show it.

    "mini" keeps the boxes (classes 0-10) and the road (11) and frees the rest, as the streams that are made of
    annotations alone do: so that a model trained on full scenes can be trained and judged on such streams too.
    """
    if style == "as-is":
        return semantics
    if style != "mini":
        raise InputError(f"style {style!r}", expected=f"one of {', '.join(STYLES)}", fix="name one of these styles")
    table = np.arange(NUM_CLASSES, dtype=np.uint8)
    table[DRIVEABLE + 1 : FREE] = FREE
    return table[semantics]
