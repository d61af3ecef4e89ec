"""An exported perception as perception.evaluate scores networks: the same frames, the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.perceive import PerceptionGraph
from perception.config import CAMERAS
from perception.evaluate import Sensors
from perception.frames import Frame
from perception.prepare import CameraInput, RigPlan


class ExportedPerceiver:
    """On frames of one rig."""

    def __init__(self, export: Path, threads: int, plan: RigPlan) -> None:
        """
        Raises:
            InputError: no export of a perception, or a damaged one.
        """
        self._graph = PerceptionGraph(export, plan, threads=threads)

    def __call__(self, frame: Frame, sensors: Sensors) -> NDArray[np.uint8]:
        """Classes [X, Y, Z]."""
        voxels = {"all": frame.lidar, "newest": frame.newest, "none": None}[sensors.sweeps]
        if sensors.lost is None:
            return self._graph.run(voxels, None).semantics
        used = np.array([name not in sensors.lost for name in CAMERAS])
        return self._graph.run(voxels, CameraInput(frame.images, frame.present & used)).semantics
