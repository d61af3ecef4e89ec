"""STAND-IN for `geniedrive node` where a test flashes: no ROS, no network. What it does is real: it is a process of its
own that serves the release that `current` was when it started, reads that release's manifest with every tick, and
tells its health through deploy.orin.health.

    serve_ticks.py RELEASE_FOLDER [well|dies|stuck]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from deploy.orin.archive import verify_folder
from deploy.orin.health import Heartbeat

release, how = Path(sys.argv[1]), sys.argv[2]
os.environ["GENIEDRIVE_RELEASE"] = release.name
heartbeat = Heartbeat()
if how == "dies":
    sys.exit("told to die")
assert verify_folder(release).release("ort") == release.name
while True:
    assert (release / "bundle/manifest.json").read_bytes()
    heartbeat.tick(how == "well", "serving" if how == "well" else "FAULT inference_late")
    time.sleep(0.1)
