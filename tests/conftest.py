"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As the command does: before anything loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first: two files run at once, and both workers shall end together."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


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
def synth_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic nuScenes of three scenes of 8 s with 10 Hz streams."""
    from genie.data.synth.config import SynthConfig
    from genie.data.synth.generate import generate

    root = tmp_path_factory.mktemp("synth") / "data"
    generate(root, SynthConfig(scenes=3, seconds=8.0, seed=5))
    return root
