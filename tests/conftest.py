"""Fixtures that several packages' tests share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from calib.rig import Camera, Intrinsics, Lidar, Mount, Rig

# As the command does: before anything loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first: two files run at once, and both workers shall end together."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


Make = Callable[[Path], object]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """A folder by name that the workers of one run share: the first who asks makes it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def once(name: str, make: Make) -> Path:
        folder, part = base / name, base / f"{name}.part"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                make(part)
                part.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def mini_root() -> Path:
    """The real nuScenes mini fragments (non-commercial, not part of this repository).

    Looked for in $GENIEDRIVE_MINI_ROOT, then beside the repository. In CI they must be there.
    """
    root = Path(os.environ.get("GENIEDRIVE_MINI_ROOT", REPOSITORY.parent / "shared/data/nuscenes-mini"))
    if not (root / "v1.0-mini").is_dir():
        reason = f"no nuScenes mini fragments at {root}; set GENIEDRIVE_MINI_ROOT"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return root


@pytest.fixture(scope="session")
def synth_root(made_once: Callable[[str, Make], Path]) -> Path:
    """A synthetic nuScenes of four scenes of 8 s with 10 Hz streams, of a seed that no run trains on."""
    from genie.data.synth.config import SynthConfig
    from genie.data.synth.generate import generate

    config = SynthConfig(scenes=4, seconds=8.0, seed=5)
    return made_once("synth", lambda root: generate(root, config, jobs=2))


@pytest.fixture(scope="session")
def nuscenes_rig() -> Rig:
    """Six cameras of 1600 x 900 and a lidar, as nuScenes' car has them."""
    from genie.data.synth.sensors import CAMERAS, LIDAR, RIG

    cameras = tuple(
        Camera(
            m.channel,
            Intrinsics("pinhole", (1600, 900), (m.focal or 0.0, m.focal or 0.0), m.centre),
            Mount(m.ego_from_sensor, 12.0),
        )
        for m in CAMERAS
    )
    lidar = next(m for m in RIG if m.channel == LIDAR)
    return Rig("test", cameras, (Lidar(LIDAR, Mount(lidar.ego_from_sensor, 20.0)),))
