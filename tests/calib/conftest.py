"""A rig like nuScenes' own, and a short drive of the synthetic town with the front camera."""

from __future__ import annotations

from pathlib import Path

import pytest

from calib.rig import Rig
from calib.rig_import import rig_from_nuscenes
from genie.data.synth.config import SynthConfig
from genie.data.synth.sensors import IMAGE_SIZE, RIG
from genie.data.synth.tables import common_tables


@pytest.fixture(scope="session")
def rig() -> Rig:
    tables = common_tables(SynthConfig(1))
    sizes = {m.channel: IMAGE_SIZE for m in RIG if m.focal}
    return rig_from_nuscenes("town", tables["calibrated_sensor"], tables["sensor"], sizes)


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s at 2 Hz, 13 keyframes of 400 x 225."""
    from genie.data.synth.drive import write_drive

    root = tmp_path_factory.mktemp("drive")
    config = SynthConfig(1, 6.0, 11, stream=False, lidar=True, cameras=True, image_scale=0.25)
    write_drive(root, config, ("CAM_FRONT",))
    return root
