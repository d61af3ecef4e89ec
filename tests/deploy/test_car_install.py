"""What is installed on the car: the package without extras, in an environment of its own. No torch, no training code.

Ten seconds of installing, once: that an import is lazy in this environment proves little.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.pipeline import Pipeline
from deploy.spec import read_manifest
from genie.data.sequence import Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = ("calib", "perception", "deploy", "genie", "pyproject.toml", "README.md", "LICENSE")
EXTRAS = (
    *("torch", "nuscenes", "safetensors", "tensorboard", "jaxtyping", "numba", "scipy", "embreex", "mapbox_earcut"),
    *("onnx", "tensorrt_rtx", "tensorrt", "pycuda", "matplotlib", "pytest"),
)


@pytest.fixture(scope="module")
def car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its programs."""
    folder = tmp_path_factory.mktemp("car")
    source = folder / "source"
    for name in SOURCE:
        path = REPOSITORY / name
        shutil.copytree(path, source / name) if path.is_dir() else shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip"]
    quiet = ["--quiet", "--disable-pip-version-check"]
    run([*pip, "wheel", *quiet, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source])
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
    (wheel,) = folder.glob("*.whl")
    programs = folder / "venv" / "bin"
    constraints = REPOSITORY / "constraints.txt"
    install = ["install", *quiet, "--no-compile", "--constraint", constraints, wheel]
    run([*pip, "--python", programs / "python", *install])
    return programs


def run(command: list[object], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Without this environment's own paths; what it said, where it failed."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ran = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran


def test_nothing_of_the_extras_is_there(car: Path, tmp_path: Path) -> None:
    program = f"""
        import importlib.util, deploy
        print(*[name for name in {EXTRAS} if importlib.util.find_spec(name) is not None])
        print(deploy.__file__)
    """
    present, where = run([car / "python", "-c", "if True:" + program], tmp_path).stdout.splitlines()
    assert not present
    assert Path(where).is_relative_to(car.parent), "the test runs the repository, not what was installed"


DRIVE = """
import sys
from pathlib import Path
import numpy as np
from deploy.pipeline import Pipeline
from perception.types import Occupancy, SensorFrame

bundle, drive, out = map(Path, sys.argv[1:])
frames, told = np.load(drive), []
pipeline = Pipeline(bundle, threads=1)
pipeline.warm_up()
for stamp_us, pose, semantics in zip(frames["stamps_us"], frames["poses"], frames["semantics"]):
    told.append(pipeline.step(SensorFrame(int(stamp_us), pose, Occupancy(semantics))))
np.savez(out, semantics=[f.semantics for f in told], trajectory=[f.trajectory for f in told])
"""


def test_the_pipeline_forecasts_there_what_it_forecasts_here(
    car: Path, dense_bundle: Path, stream: Sequence, tmp_path: Path
) -> None:
    count, drive, out = 3, tmp_path / "drive.npz", tmp_path / "out.npz"
    shown = {"stamps_us": stream.timestamp_us, "poses": stream.world_from_ego, "semantics": stream.semantics}
    np.savez(drive, **{name: array[:count] for name, array in shown.items()})
    run([car / "python", "-c", DRIVE, dense_bundle, drive, out], tmp_path)
    pipeline, found = Pipeline(dense_bundle, threads=1), np.load(out)
    for t in range(count):
        expected = pipeline.step(stream.frame(t))
        np.testing.assert_array_equal(found["semantics"][t], expected.semantics)
        np.testing.assert_array_equal(found["trajectory"][t], expected.trajectory)


def test_the_commands_of_the_car_run_there(car: Path, dense_bundle: Path, tmp_path: Path) -> None:
    """The benchmark measures; the build of engines gets as far as TensorRT, which no environment of Python brings."""
    assert "bench" in run([car / "geniedrive", "--help"], tmp_path).stdout
    run([car / "geniedrive", "bench", dense_bundle, "--ticks", 3, "--threads", 1, "--out", tmp_path / "out"], tmp_path)
    assert read_manifest(dense_bundle).bundle_id in (tmp_path / "out" / "tick.md").read_text(encoding="utf-8")
    command = [str(car / "python"), "-m", "deploy.engine", "build", str(dense_bundle)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "no TensorRT here" in ran.stderr
